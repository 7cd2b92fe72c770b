; Captures: @key the name or the expression that makes it, @read the whole read, @default what is taken instead,
; @binding the variable or field that gets it. `absent raises`: the program fails where the variable is not set.
; @spring: a text with ${NAME:default} in it.

; System.getenv("X")
(call_expression
  (navigation_expression (identifier) @_system (identifier) @_getenv)
  (value_arguments . (value_argument (_) @key))
  (#eq? @_system "System")
  (#eq? @_getenv "getenv")) @read

; System.getenv()["X"]
(index_expression
  (call_expression (navigation_expression (identifier) @_system (identifier) @_getenv))
  (_) @key
  (#eq? @_system "System")
  (#eq? @_getenv "getenv")) @read

; System.getenv().getOrDefault("X", default)
(call_expression
  (navigation_expression
    (call_expression (navigation_expression (identifier) @_system (identifier) @_getenv))
    (identifier) @_get)
  (value_arguments . (value_argument (_) @key) . (value_argument (_) @default)?)
  (#eq? @_system "System")
  (#eq? @_getenv "getenv")
  (#any-of? @_get "get" "getOrDefault" "containsKey")) @read

; @Value("${X:default}")
(annotation
  (constructor_invocation
    (user_type (identifier) @_value)
    (value_arguments (value_argument (string_literal) @spring)))
  (#eq? @_value "Value"))

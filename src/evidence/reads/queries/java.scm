; Captures: @key the name or the expression that makes it, @read the whole read, @default what is taken instead,
; @binding the variable or field that gets it. `absent raises`: the program fails where the variable is not set.
; @spring: a text with ${NAME:default} in it.

; System.getenv("X")
(method_invocation
  object: (identifier) @_system
  name: (identifier) @_getenv
  arguments: (argument_list . (_) @key)
  (#eq? @_system "System")
  (#eq? @_getenv "getenv")) @read

; System.getenv().getOrDefault("X", default)
(method_invocation
  object: (method_invocation object: (identifier) @_system name: (identifier) @_getenv)
  name: (identifier) @_get
  arguments: (argument_list . (_) @key . (_)? @default)
  (#eq? @_system "System")
  (#eq? @_getenv "getenv")
  (#any-of? @_get "get" "getOrDefault" "containsKey")) @read

; @Value("${X:default}")
(annotation
  name: (identifier) @_value
  arguments: (annotation_argument_list [(string_literal) @spring (element_value_pair value: (string_literal) @spring)])
  (#eq? @_value "Value"))

; getEnv("X", default), a helper
(method_invocation
  name: (identifier) @_getenv
  arguments: (argument_list . (string_literal) @key . (_)? @default)
  (#match? @_getenv "^(get|read|require)Env(Var)?(Or|OrDefault)?$")) @read

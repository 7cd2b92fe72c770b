; Captures: @key the name or the expression that makes it, @read the whole read, @default what is taken instead,
; @binding the variable or field that gets it. `absent raises`: the program fails where the variable is not set.

; getenv("X")
(function_call_expression
  function: [(name) @_getenv (qualified_name (name) @_getenv)]
  arguments: (arguments . (argument (_) @key))
  (#eq? @_getenv "getenv")) @read

; env("X", default) of Laravel
(function_call_expression
  function: [(name) @_env (qualified_name (name) @_env)]
  arguments: (arguments . (argument (_) @key) . (argument (_) @default)?)
  (#eq? @_env "env")) @read

; $_ENV["X"], $_SERVER["X"]
(subscript_expression
  (variable_name (name) @_array)
  (_) @key
  (#eq? @_array "_ENV")) @read
(subscript_expression
  (variable_name (name) @_array)
  (_) @key
  (#eq? @_array "_SERVER")
  (#set! names server)) @read

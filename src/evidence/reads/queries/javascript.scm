; Captures: @key the name or the expression that makes it, @read the whole read, @default what is taken instead,
; @binding the variable or field that gets it. `absent raises`: the program fails where the variable is not set.

; process.env.X, Bun.env.X
(member_expression
  object: (member_expression object: (identifier) @_process property: (property_identifier) @_env)
  property: (property_identifier) @key
  (#any-of? @_process "process" "Bun")
  (#eq? @_env "env")) @read

; process.env["X"]
(subscript_expression
  object: (member_expression object: (identifier) @_process property: (property_identifier) @_env)
  index: (_) @key
  (#any-of? @_process "process" "Bun")
  (#eq? @_env "env")) @read

; import.meta.env.X
(member_expression
  object: (member_expression object: (meta_property) property: (property_identifier) @_env)
  property: (property_identifier) @key
  (#eq? @_env "env")) @read

; Deno.env.get("X")
(call_expression
  function: (member_expression
    object: (member_expression object: (identifier) @_deno property: (property_identifier) @_env)
    property: (property_identifier) @_get)
  arguments: (arguments . (_) @key)
  (#eq? @_deno "Deno")
  (#eq? @_env "env")
  (#any-of? @_get "get" "has")) @read

; const { X, Y: y, Z = default } = process.env
(variable_declarator
  name: (object_pattern (shorthand_property_identifier_pattern) @key @binding)
  value: (member_expression object: (identifier) @_process property: (property_identifier) @_env)
  (#eq? @_process "process")
  (#eq? @_env "env"))
(variable_declarator
  name: (object_pattern (pair_pattern key: (_) @key value: (identifier) @binding))
  value: (member_expression object: (identifier) @_process property: (property_identifier) @_env)
  (#eq? @_process "process")
  (#eq? @_env "env"))
(variable_declarator
  name: (object_pattern (pair_pattern
    key: (_) @key
    value: (assignment_pattern left: (identifier) @binding right: (_) @default)))
  value: (member_expression object: (identifier) @_process property: (property_identifier) @_env)
  (#eq? @_process "process")
  (#eq? @_env "env"))
(variable_declarator
  name: (object_pattern (object_assignment_pattern
    left: (shorthand_property_identifier_pattern) @key @binding
    right: (_) @default))
  value: (member_expression object: (identifier) @_process property: (property_identifier) @_env)
  (#eq? @_process "process")
  (#eq? @_env "env"))

; getEnv("X", default), a helper
(call_expression
  function: [(identifier) @_getenv (member_expression property: (property_identifier) @_getenv)]
  arguments: (arguments . (string) @key . (_)? @default)
  (#match? @_getenv "^(get|read|require|must(Get)?)_?[eE]nv(Var)?(Or|OrDefault)?$")) @read

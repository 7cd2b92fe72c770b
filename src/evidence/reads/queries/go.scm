; Captures: @key the name or the expression that makes it, @read the whole read, @default what is taken instead,
; @binding the variable or field that gets it. `absent raises`: the program fails where the variable is not set.
; @tag: the tag of a field.

; os.Getenv("X")
(call_expression
  function: (selector_expression operand: (identifier) @_os field: (field_identifier) @_getenv)
  arguments: (argument_list . (_) @key)
  (#any-of? @_os "os" "syscall")
  (#any-of? @_getenv "Getenv" "LookupEnv")) @read

; `env:"X" envDefault:"80"` of caarlos0/env, `envconfig:"X" default:"80"` of kelseyhightower/envconfig
(field_declaration
  name: (field_identifier) @binding
  tag: (_) @tag)

; getEnv("X", default), a helper
(call_expression
  function: [(identifier) @_getenv (selector_expression field: (field_identifier) @_getenv)]
  arguments: (argument_list . (interpreted_string_literal) @key . (_)? @default)
  (#match? @_getenv "^(get|Get|must|Must|mustGet|MustGet|read|lookup|require)_?[eE]nv(Var)?(Or|OrDefault|Default|Int|Bool|Str|String)?$")) @read

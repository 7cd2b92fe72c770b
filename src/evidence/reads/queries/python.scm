; Captures: @key the name or the expression that makes it, @read the whole read, @default what is taken instead,
; @binding the variable or field that gets it. `absent raises`: the program fails where the variable is not set.

; os.environ["X"]
(subscript
  value: [(attribute attribute: (identifier) @_environ) (identifier) @_environ]
  subscript: (_) @key
  (#any-of? @_environ "environ" "environb")
  (#set! absent raises)) @read

; os.environ.get("X", default)
(call
  function: (attribute
    object: [(attribute attribute: (identifier) @_environ) (identifier) @_environ]
    attribute: (identifier) @_get)
  arguments: (argument_list . (_) @key . (_)? @default)
  (#any-of? @_environ "environ" "environb")
  (#any-of? @_get "get" "pop" "setdefault")) @read

; os.getenv("X", default), and helpers that are called like it
(call
  function: [(attribute attribute: (identifier) @_getenv) (identifier) @_getenv]
  arguments: (argument_list . (_) @key . (_)? @default)
  (#match? @_getenv "^_?(must_?|require_?)?(get|read)_?env(_?var)?(_or|_default|_or_default)?(_?b|_?int|_?str|_?bool)?$")) @read

; env.int("X", default) of environs and django-environ
(call
  function: (attribute object: (identifier) @_env attribute: (identifier) @_type)
  arguments: (argument_list . (string) @key . (_)? @default)
  (#eq? @_env "env")
  (#any-of? @_type "str" "int" "bool" "float" "url" "list" "db" "path" "json")) @read

; Field(env="X") of pydantic
(call
  function: (identifier) @_field
  arguments: (argument_list (keyword_argument name: (identifier) @_env value: (string) @key))
  (#eq? @_field "Field")
  (#any-of? @_env "env" "validation_alias")) @read

; "X" in os.environ
(comparison_operator
  . (string) @key
  [(attribute attribute: (identifier) @_environ) (identifier) @_environ] .
  (#eq? @_environ "environ")) @read

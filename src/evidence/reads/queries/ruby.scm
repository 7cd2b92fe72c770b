; Captures: @key the name or the expression that makes it, @read the whole read, @default what is taken instead,
; @binding the variable or field that gets it. `absent raises`: the program fails where the variable is not set.

; ENV["X"]
(element_reference
  object: (constant) @_env
  . (_) @key
  (#eq? @_env "ENV")) @read

; ENV.fetch("X", default), ENV.fetch("X") { default }
(call
  receiver: (constant) @_env
  method: (identifier) @_fetch
  arguments: (argument_list . (_) @key . (_)? @default)
  block: (_)? @default
  (#eq? @_env "ENV")
  (#eq? @_fetch "fetch")
  (#set! absent raises)) @read

; ENV.key?("X")
(call
  receiver: (constant) @_env
  method: (identifier) @_key
  arguments: (argument_list . (_) @key)
  (#eq? @_env "ENV")
  (#any-of? @_key "key?" "has_key?" "include?" "dig")) @read

; Captures: @key the name or the expression that makes it, @read the whole read, @default what is taken instead,
; @binding the variable or field that gets it. `absent raises`: the program fails where the variable is not set.
; `when build`: the compiler reads it, the program does not.

; std::env::var("X")
(call_expression
  function: [
    (scoped_identifier path: (identifier) @_env name: (identifier) @_var)
    (scoped_identifier path: (scoped_identifier name: (identifier) @_env) name: (identifier) @_var)
  ]
  arguments: (arguments . (_) @key)
  (#eq? @_env "env")
  (#any-of? @_var "var" "var_os")) @read

; env!("X")
(macro_invocation
  macro: (identifier) @_env
  (token_tree . (string_literal) @key)
  (#any-of? @_env "env" "option_env")
  (#set! when build)) @read

; #[arg(env = "X")] of clap
(attribute
  (identifier) @_arg
  arguments: (token_tree (identifier) @_env . (string_literal) @key)
  (#any-of? @_arg "arg" "clap" "envconfig")
  (#any-of? @_env "env" "from")) @read

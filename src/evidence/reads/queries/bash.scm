; Captures: @key the name, @read the whole read. What the script itself assigns is left out behind the query.

; $X
(simple_expansion (variable_name) @key) @read

; ${X:-default}
(expansion (variable_name) @key) @read

; printenv X
(command
  name: (command_name (word) @_printenv)
  . argument: (word) @key
  (#eq? @_printenv "printenv")) @read

; @assigned: names that the script gives a value itself.
(variable_assignment name: (variable_name) @assigned)
(for_statement variable: (variable_name) @assigned)
(command
  name: (command_name (word) @_read)
  argument: (word) @assigned
  (#any-of? @_read "read" "mapfile" "readarray" "getopts"))

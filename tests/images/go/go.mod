module kdbg.local/server

go 1.24

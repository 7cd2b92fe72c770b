//! kdbg

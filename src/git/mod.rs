//! Reading a repository at a ref.

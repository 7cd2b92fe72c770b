//! x
mod diff_oracle;

//! Names the build.
fn main() {
    println!("cargo::rustc-env=KDBG_BUILD=dev");
}

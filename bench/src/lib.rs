//! What the benches and the comparisons share.

use std::error::Error;
use std::path::{Path, PathBuf};

pub mod compare;
pub mod cost;
pub mod floor;
pub mod machine;
pub mod many;
pub mod pairs;
pub mod peers;
pub mod platform;
pub mod server;
pub mod spread;

/// What a comparison ends with.
pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The program `name` of the package of that name, built beside the example that asks.
///
/// # Errors
/// When it is not there, with the command that builds it.
pub fn program_beside(name: &str) -> Result<PathBuf> {
    let example = std::env::current_exe()?;
    // target/release/examples/churn -> target/release/finwait-server
    let folder = example.parent().and_then(Path::parent).ok_or("this program is in no target folder")?;
    let program = folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    if !program.exists() {
        let build = format!("cargo build --release -p {name}");
        return Err(format!("{} is not there; build it with: {build}", program.display()).into());
    }
    Ok(program)
}

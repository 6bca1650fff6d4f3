//! The client as a program, for a container: `lighter-meter kept|fresh SOCKET PATH COUNT` and `lighter-meter vsock COUNT` print
//! the 50th and the 99th percentile in nanoseconds.

use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let samples = match &words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["kept", socket, path, count] => lighter_meter::kept(Path::new(socket), path, count.parse()?)?,
        ["fresh", socket, path, count] => lighter_meter::fresh(Path::new(socket), path, count.parse()?)?,
        ["vsock", count] => lighter_meter::sys::vsock::refused(count.parse()?)?,
        _ => return Err("lighter-meter kept|fresh SOCKET PATH COUNT, or lighter-meter vsock COUNT".into()),
    };
    println!("{} {}", lighter_meter::percentile(&samples, 50), lighter_meter::percentile(&samples, 99));
    Ok(())
}

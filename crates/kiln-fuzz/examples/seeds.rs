//! Writes the first inputs of every fuzz target into `fuzz/corpus/`: small real files, made by
//! Kiln's own writers where there are some, and broken variants of each.
//!
//! `cargo run -p kiln-fuzz --example seeds`. The files are committed; this program stays as the
//! record of what they are and as the place to add more. It never removes a file, because the
//! corpus also holds what fuzzing found.

#[path = "seeds/binary.rs"]
mod binary;
#[path = "seeds/configuration.rs"]
mod configuration;
#[path = "seeds/grub.rs"]
mod grub;
#[path = "seeds/iso.rs"]
mod iso;
#[path = "seeds/keyless.rs"]
mod keyless;
#[path = "seeds/media.rs"]
mod media;
#[path = "seeds/network.rs"]
mod network;
#[path = "seeds/texts.rs"]
mod texts;

use std::error::Error;
use std::fs;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let mut seeds = binary::seeds()?;
    seeds.extend(media::seeds()?);
    seeds.extend(iso::seeds()?);
    seeds.extend(texts::seeds());
    seeds.extend(grub::seeds());
    seeds.extend(network::seeds());
    seeds.extend(configuration::seeds());
    seeds.extend(keyless::seeds(&corpus)?);
    for (target, name, bytes) in seeds {
        let folder = corpus.join(target);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(name), &bytes)?;
        if bytes.len() < 300_000 && !bytes.is_empty() {
            // The same file cut in the middle, and with one byte in its second half turned over.
            let half = bytes.len() / 2;
            fs::write(folder.join(format!("{name}-cut")), &bytes[..half])?;
            let mut turned = bytes.clone();
            turned[half + half / 3] ^= 0xff;
            if target != "layer_merge" && bytes.len() < 9000 {
                fs::write(folder.join(format!("{name}-turned")), &turned)?;
            }
        }
    }
    Ok(())
}

//! The whole way in order: table, plan, fetch, boot files, rebuild, proof.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;

use kiln_erofs::Lender;
use kiln_verity::RootHash;

use super::gather::fetch_chunk;
use super::{
    LocalContents, Place, RebuildOptions, Remote, Spool, Watch, check_profile, gather, plan,
    rebuild,
};
use crate::Error;
use crate::table::Chunk;

/// A release that is here.
#[derive(Debug)]
pub struct Brought {
    /// Root hash of what was written.
    pub root_hash: RootHash,
    /// Boot files by mode.
    pub boot_files: BTreeMap<String, Vec<u8>>,
    /// Bytes of frames that were fetched.
    pub fetched: u64,
    /// Bytes of frames that an earlier run had fetched.
    pub kept: u64,
    /// Bytes of all frames of the release.
    pub total: u64,
    /// Chunks that a slot promised and did not give.
    pub replaced: u64,
}

/// Writes the root image of `remote` to the beginning of what `place` gives, and gives its boot files. `local` is
/// what is here, its lenders give encoded contents; one that fails only makes it slower. `boot_files` are the boot files that are here. The caller clears the spool when it no
/// longer needs it; after an error the next call goes on with it.
///
/// # Errors
/// Nothing that was written may be used.
pub fn bring(
    remote: &Remote,
    local: &LocalContents,
    boot_files: &[Vec<u8>],
    spool: &mut Spool,
    place: &mut Place<'_>,
    options: RebuildOptions,
    watch: &Watch<'_>,
) -> Result<Brought, Error> {
    check_profile(&remote.release)?;
    let table = remote.table(spool, watch)?;
    let plan = plan(&table, local, spool);
    gather(remote, &plan, spool, watch)?;
    let boot_files = remote.boot_files(boot_files, spool, watch)?;
    let mut replaced = 0;
    let mut opened = None;
    let mut place = || match &opened {
        Some(root) => File::try_clone(root),
        None => {
            let root = place()?;
            opened = Some(root.try_clone()?);
            Ok(root)
        }
    };
    let RebuildOptions { spool: encoded, threads } = options;
    let again = encoded.try_clone().map_err(Error::io("open the spool"))?;
    let first = RebuildOptions { spool: encoded, threads };
    let release = &remote.release;
    let lenders = local.lenders();
    let mut chunks = |chunk: &Chunk| take(remote, local, spool, chunk, &mut replaced);
    let rebuilt = rebuild(table, release, &mut chunks, lenders, &mut place, first, watch);
    let root_hash = match rebuilt {
        Err(error) if is_of_lenders(&error, lenders) => {
            again.set_len(0).map_err(Error::io("empty the spool"))?;
            let table = remote.table(spool, watch)?;
            let mut chunks = |chunk: &Chunk| take(remote, local, spool, chunk, &mut replaced);
            let second = RebuildOptions { spool: again, threads };
            rebuild(table, release, &mut chunks, &[], &mut place, second, watch)?
        }
        rebuilt => rebuilt?,
    };
    let (fetched, kept, total) = (plan.bytes, plan.kept, plan.total);
    Ok(Brought { root_hash, boot_files, fetched, kept, total, replaced })
}

/// Whether it may go well without what was lent.
fn is_of_lenders(error: &Error, lenders: &[Arc<Lender>]) -> bool {
    let is_other_root = matches!(error, Error::RootHash { .. }) && !lenders.is_empty();
    is_other_root || lenders.iter().any(|lender| lender.has_failed())
}

/// A chunk from where it is nearest; counts those that a slot promised and did not give.
fn take(
    remote: &Remote,
    local: &LocalContents,
    spool: &Spool,
    chunk: &Chunk,
    replaced: &mut u64,
) -> Result<Vec<u8>, Error> {
    if let Some(bytes) = spool.read(chunk)? {
        return Ok(bytes);
    }
    match local.read(chunk) {
        Ok(Some(bytes)) => Ok(bytes),
        // A slot that rots must not keep its machine from being replaced.
        Ok(None) | Err(_) => {
            *replaced += 1;
            fetch_chunk(remote, chunk)
        }
    }
}

//! Promise: `ifname=`, `vlan=` and `ip=` of the kernel command line bring up a VLAN before any service, with
//! the kernel's module for it from the image, and a first-boot document is fetched over it alone.
//!
//! QEMU's user network drops frames with a tag. So the card's frames go through this test, which takes the
//! tag off, hands them to a user network of another range, and puts the tag on what comes back.

mod compat;

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use compat::{FIRMWARE_NAME, written};
use kiln_lab::registry::{Fault, Rule};
use kiln_lab::{Error, Failure, Life, Registry, WorkDirectory};
use serde_json::json;

/// The card behind which the VLAN is.
const CARD: &str = "52:54:00:00:00:05";
/// What follows both addresses of a frame of VLAN 5 (IEEE 802.1Q-2022, 9.3 to 9.6).
const TAG: [u8; 4] = [0x81, 0x00, 0x00, 0x05];
/// Bytes of the two addresses.
const ADDRESSES: usize = 12;
/// More than any frame has.
const FRAME: usize = 65_536;

/// Frames that went to the network behind the VLAN.
#[derive(Clone, Debug, Default)]
struct Counted(Arc<AtomicUsize>);

/// A frame of the VLAN as it goes on behind it; nothing for what has no tag or another.
fn untagged(frame: &[u8]) -> Option<Vec<u8>> {
    let (addresses, rest) = frame.split_at_checked(ADDRESSES)?;
    Some([addresses, rest.strip_prefix(&TAG)?].concat())
}

/// A frame from behind the VLAN as the card gets it.
fn tagged(frame: &[u8]) -> Option<Vec<u8>> {
    let (addresses, rest) = frame.split_at_checked(ADDRESSES)?;
    Some([addresses, &TAG, rest].concat())
}

/// Passes on what comes in at `from`, until this test ends.
fn pass(from: UnixDatagram, to: PathBuf, change: fn(&[u8]) -> Option<Vec<u8>>, counted: Counted) {
    thread::spawn(move || {
        let mut frame = vec![0; FRAME];
        while let Ok(length) = from.recv(&mut frame) {
            let changed = frame.get(..length).and_then(change);
            // The other end may not be there yet, as a cable may not.
            if changed.is_some_and(|changed| from.send_to(&changed, &to).is_ok()) {
                counted.0.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
}

/// Gives the machine the card and what is behind it.
fn wire(life: &mut Life<'_>, work: &WorkDirectory) -> Result<Counted, Error> {
    let bound = |name: &str| {
        let path = work.join(name);
        UnixDatagram::bind(&path).map_err(|source| Error::File { action: "bind", path, source })
    };
    let counted = Counted::default();
    pass(bound("card-out")?, work.join("behind-in"), untagged, counted.clone());
    pass(bound("behind-out")?, work.join("card-in"), tagged, Counted::default());
    let ends = |id: &str, into: &str, out: &str| {
        format!(
            "dgram,id={id},local.type=unix,local.path={},remote.type=unix,remote.path={}",
            work.join(into).display(),
            work.join(out).display()
        )
    };
    life.add_network(&ends("card", "card-in", "card-out"));
    life.add_device(&format!("virtio-net-pci,netdev=card,mac={CARD},romfile="));
    life.add_network(&ends("behind", "behind-in", "behind-out"));
    life.add_network("user,id=far,net=10.0.3.0/24");
    life.add_network("hubport,id=port0,hubid=1,netdev=behind");
    life.add_network("hubport,id=port1,hubid=1,netdev=far");
    Ok(counted)
}

#[test]
#[ignore = "1 boot: on the long list"]
fn a_document_is_fetched_over_a_vlan() -> Result<(), Failure> {
    let work = WorkDirectory::new("vlan")?;
    let registry = Registry::plain()?;
    let answer = json!({
        "ignition": { "version": "3.4.0" },
        "storage": { "files": [
            { "path": "/etc/from-vlan", "contents": { "source": "data:,far%0A" } } ] },
    });
    let body = answer.to_string().into_bytes();
    registry.script(Rule::new("/far", Fault::Status { status: 200, headers: Vec::new(), body }));
    let pointer = json!({ "ignition": { "version": "3.4.0", "config": { "merge": [
        { "source": format!("http://10.0.3.2:{}/far", registry.address().port()) } ] } } });

    let name = format!("ifname=wire:{CARD}");
    let options = ["--karg", &name, "--karg", "vlan=wire.5:wire", "--karg", "ip=wire.5:dhcp"];
    let mut life = Life::built("vlan", &work, &options)?;
    let counted = wire(&mut life, &work)?;
    life.hand_over(FIRMWARE_NAME, &written(work.join("pointer.ign"), pointer.to_string())?);
    life.power_on()?;
    life.settle()?;
    assert_eq!(life.succeed("cat /etc/from-vlan")?, "far");
    assert_eq!(registry.requests_for("/far").len(), 1);
    // An offer, an address, and a conversation over TCP.
    let frames = counted.0.load(Ordering::Relaxed);
    assert!(frames > 5, "{frames} frames went over the VLAN");
    assert_eq!(life.succeed("lsmod | grep -c ^8021q")?, "1");
    assert_eq!(life.succeed("systemctl list-units --failed --plain --no-legend")?, "");
    Ok(life.power_off()?)
}

#[test]
fn only_frames_of_the_vlan_pass() {
    let plain = [&[7; ADDRESSES][..], &[8, 0, 1, 2]].concat();
    let with_tag = tagged(&plain).unwrap_or_default();
    assert_eq!(with_tag.len(), plain.len() + TAG.len());
    assert_eq!(untagged(&with_tag).as_deref(), Some(&plain[..]));
    let mut other = with_tag.clone();
    other[15] = 6;
    for refused in [&plain[..], &other, &[], &with_tag[..14]] {
        assert_eq!(untagged(refused), None, "{refused:?}");
    }
}

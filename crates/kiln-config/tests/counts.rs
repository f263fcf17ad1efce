//! The counts of keys in SPECIFICATION.md are those of the tables that the readers are tested against.

use kiln_config::elemental::{KEYS, Support};
use kiln_config::ignition;
use kiln_config::ignition::keys::State;
use kiln_config::template::{FUNCTIONS, REFUSED};

/// Maps of Elemental's `mount:` document.
const MOUNT: [&str; 5] = ["`mount`", "`volume`", "a volume", "`ephemeral`", "`persistent`"];
/// Maps of cloud-init's keys; those on top stand beside `stages`.
const CLOUD_INIT: [&str; 7] = [
    "a cloud-config",
    "a cloud-init user",
    "a cloud-init file",
    "`ntp`",
    "`growpart`",
    "`chpasswd`",
    "a password",
];

/// The row of one dialect.
fn row(name: &str, carried_out: usize, refused: &str, ignored: usize) -> String {
    format!("| {name} | {carried_out} | {refused} | {ignored} |")
}

/// Counts of the cloud-config keys whose place satisfies `is_there`.
fn cloud_config(name: &str, is_there: impl Fn(&str) -> bool) -> String {
    let count =
        |support| KEYS.iter().filter(|key| is_there(key.place) && key.support == support).count();
    let refused = count(Support::Refused).to_string();
    row(name, count(Support::CarriedOut), &refused, count(Support::Ignored))
}

#[test]
fn the_counts_in_the_specification_are_those_of_the_tables() {
    let is_cloud_init = |place: &str| CLOUD_INIT.contains(&place);
    let is_mount = |place: &str| MOUNT.contains(&place);
    let refused: Vec<&str> = ignition::KEYS
        .iter()
        .filter(|key| matches!(key.state, State::Refused(_)))
        .map(|key| key.path)
        .collect();
    let of = |word: &str| refused.iter().filter(|path| path.contains(word)).count();
    let split = format!("{} ({} of clevis, {} of cex)", refused.len(), of("clevis"), of("cex"));
    let rows = [
        cloud_config("cloud-config, steps", |place| !is_cloud_init(place) && !is_mount(place)),
        cloud_config("cloud-config, `mount:`", is_mount),
        cloud_config("cloud-config, on top and of cloud-init", is_cloud_init),
        row("Ignition 3.x", ignition::KEYS.len() - refused.len(), &split, 0),
        row(
            "functions of templates",
            FUNCTIONS.iter().map(|group| group.functions.len()).sum(),
            &REFUSED.len().to_string(),
            0,
        ),
    ];
    let specification = include_str!("../../../SPECIFICATION.md");
    let missing: Vec<&String> = rows.iter().filter(|row| !specification.contains(*row)).collect();
    assert!(missing.is_empty(), "SPECIFICATION.md has to say: {missing:#?}");
}

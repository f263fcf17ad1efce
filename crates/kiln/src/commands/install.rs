//! `kiln install`: a system onto a disk of this machine.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use kiln_build::recipe::Recipe;
use kiln_build::{BuildOptions, Progress as _, format_size};
use kiln_disk::{BlockDevice as _, layout};
use kiln_host::hooks::{Hooks as _, Moment};
use kiln_host::install::{
    Configuration, InstallSource, Keep, Media, Offer, Origin, Plan, PlanOptions, Target,
    TargetDevice, choose, devices, identity, offer, plan, prepare, write,
};
use kiln_host::machine::Paths;
use kiln_host::policy;
use kiln_registry::{Platform, Source};
use serde_json::{Value, json};

use crate::hooks::tools::Power;
use crate::hooks::{self, DocumentHooks};
use crate::options::confirm::ConfirmArguments;
use crate::options::fetch::FetchArguments;
use crate::options::keys::signature_repository;
use crate::options::machine::MachineArguments;
use crate::options::strict::StrictArguments;
use crate::options::users::UserArguments;
use crate::progress::Lines;
use crate::render::{self, Failure};

const EXAMPLES: &str = "\
Disks:
  /dev/sda, /dev/disk/by-id/…  a node or a link to one
  id:NAME, serial:NUMBER       a name below /dev/disk/by-id, a serial number
  size:>=100G                  the one disk of which that is true; also <, <=, =, >
  smallest, largest, only      of those that would do; never a removable one
  file:PATH                    a disk image, as long as the disk shall be

Examples:
  kiln install --target /dev/nvme0n1
  kiln install --target only --source registry.example/edge:14 --yes
  kiln install --target size:>=100G --source oci-archive:edge.tar --dry-run
  kiln install --target serial:S4EVNX0R --config layout.toml --config users.yaml
  kiln install --target /dev/sda --keep kiln-state
  truncate -s 16G disk.raw && kiln install --target file:disk.raw --source oci:edge --yes";

/// Length in bytes of the root image that is taken for one that is not known yet: with it slots have
/// their least default length.
const GUESS: u64 = 1 << 30;

/// Where data goes that is needed only meanwhile, on a system that is not Kiln's.
const OTHER_WORK: &str = "/var/tmp/kiln-install";

/// Install a system onto a disk of this machine
///
/// Works on a running system of Kiln's and on any other Linux. Shows what will be where and what is
/// erased, and asks. The disk is written in an order in which it cannot be started before it is whole.
/// Hooks are before-install, after-install-chroot, after-install and post-install, of this system's
/// documents and of those of --config.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct InstallArguments {
    /// The disk
    #[arg(long, value_name = "DISK")]
    target: Target,
    /// What to install: an image, a pushed release, or `live` for what runs here [default: live]
    #[arg(long, value_name = "REF|live", value_parser = parse_install_source)]
    source: Option<InstallSource>,
    /// What `kiln upgrade` will follow on the installed machine [default: --source, if it is a
    /// reference to a registry; for `live` what this machine follows]
    #[arg(long, value_name = "REF", value_parser = parse_followed)]
    follow: Option<Source>,
    /// A layout, or configuration for the first boot; may be given more than once
    #[arg(long, value_name = "FILE")]
    config: Vec<PathBuf>,
    /// A partition that stays as it is: its number, name or GUID; may be given more than once
    #[arg(long, value_name = "PARTITION")]
    keep: Vec<Keep>,
    /// Bytes of a sector of a disk image
    #[arg(long, value_name = "BYTES", value_parser = ["512", "4096"], default_value = "512")]
    sector_size: String,
    /// A folder for about twice the root image, needed only meanwhile [default: on Kiln's systems
    /// /state/kiln/install, on others /var/tmp/kiln-install]
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// Restart when it is done
    #[arg(long, conflicts_with_all = ["poweroff", "dry_run"])]
    reboot: bool,
    /// Switch the machine off when it is done
    #[arg(long, conflicts_with = "dry_run")]
    poweroff: bool,
    /// Print the plan as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    confirm: ConfirmArguments,
    #[command(flatten)]
    strict: StrictArguments,
    #[command(flatten)]
    machine: MachineArguments,
    #[command(flatten)]
    fetch: FetchArguments,
    #[command(flatten)]
    users: UserArguments,
}

pub(crate) fn run(
    arguments: InstallArguments,
    quiet: bool,
    verbose: bool,
) -> Result<ExitCode, Failure> {
    let paths = arguments.machine.paths();
    let source = arguments.source.clone().unwrap_or(InstallSource::Live);
    let configuration = Configuration::read(&arguments.config)?;
    let wanted = configuration.layout();
    let mut lines = Lines::new(quiet, verbose);

    // All that can be refused, before anything is fetched.
    let least = layout::least_length(&wanted, 0);
    let mut target = open(&arguments, &paths, least)?;
    let (present, whole) = target.look()?;
    let (mut build, verifier) = build_options(&arguments, &source, &paths)?;
    let offer = offer(&source, &paths, &mut build, &verifier)?;
    check_architecture(&offer, &arguments.target)?;
    let node = target.node().to_owned();
    let mut options = PlanOptions {
        disk: &node,
        disk_length: target.device().length(),
        sector_size: target.device().sector_size(),
        image_length: offer.root_length.unwrap_or(GUESS.min(wanted.slot.unwrap_or(GUESS))),
        layout: &wanted,
        present: &present,
        whole: &whole,
        keep: &arguments.keep,
    };
    let is_exact = offer.root_length.is_some();
    let expected = make_plan(&options)?;
    let follow = follow(&arguments, &source, &offer);
    let documents = &configuration.documents;
    let mut hooks = DocumentHooks::new("install", &arguments.machine, documents, quiet)?;
    hooks.installing_to(&node, matches!(arguments.target, Target::File(_)));
    let planned = hooks.planned();
    if arguments.json {
        let mut value = to_json(&expected, &source, follow.as_deref(), is_exact);
        value["hooks"] = hooks::to_json(&planned);
        render::json(&value)?;
    } else {
        render::data(&describe(&expected, &source, follow.as_deref(), is_exact))?;
        render::data(&hooks::describe(&planned))?;
    }
    if arguments.confirm.dry_run {
        return Ok(ExitCode::SUCCESS);
    }
    arguments.confirm.ask(&format!("everything that is listed on {node} is erased"), &node)?;

    hooks.run(&Moment::Before);
    let origin = Origin::new(follow, offer.digest.clone());
    let scratch = scratch(&arguments, &paths);
    let prepared = prepare(offer, &build, &scratch, &mut lines)?;
    options.image_length = prepared.release.root.length;
    let exact = if is_exact { expected } else { make_plan(&options)? };
    let mut files = configuration.files;
    files.push((Origin::path(), origin.to_json()?.into_bytes()));
    if let Some((_, text)) = configuration.layout {
        files.push((layout::ESP_PATH.to_owned(), text.into_bytes()));
    }
    let media = Media {
        release: &prepared.release,
        root: &prepared.root,
        boot_file: &prepared.boot_file,
        loaders: &prepared.loaders,
        files: &files,
    };
    write(&mut target, &exact, &media, identity()?, &mut hooks, &mut lines)?;
    if let Some(reason) = target.announce() {
        lines.detail(&format!("the kernel goes on with the old table of {node}: {reason}"));
    }
    drop(prepared);
    clear(&scratch);
    super::upgrade::clear_cache(&paths);
    hooks.run(&Moment::Committed);
    lines.line(&format!("{node} is installed and starts by itself"));
    drop(lines);
    let asked = match (arguments.reboot, arguments.poweroff) {
        (true, _) => Some(Power::Restart),
        (_, true) => Some(Power::Off),
        _ => None,
    };
    hooks.finish(&arguments.machine, asked)?;
    Ok(arguments.strict.code(&hooks))
}

/// Reads `live`, a source, or a reference to a registry.
fn parse_install_source(text: &str) -> Result<InstallSource, String> {
    if text == "live" {
        return Ok(InstallSource::Live);
    }
    super::upgrade::parse_reference(text).map(InstallSource::Reference)
}

fn parse_followed(text: &str) -> Result<Source, String> {
    super::upgrade::parse_reference(text)
}

/// Finds and opens the disk, of which the layout alone needs `least` bytes.
fn open(arguments: &InstallArguments, paths: &Paths, least: u64) -> Result<TargetDevice, Failure> {
    if let Target::File(path) = &arguments.target {
        let sector_size = if arguments.sector_size == "4096" { 4096 } else { 512 };
        return Ok(TargetDevice::file(path, sector_size)?);
    }
    let disks = devices::disks(paths);
    let disk = choose(&disks, &arguments.target, least)?;
    Ok(TargetDevice::disk(&paths.node(&disk.node))?)
}

fn check_architecture(offer: &Offer, target: &Target) -> Result<(), Failure> {
    let host = Platform::host().architecture;
    if offer.architecture == host || matches!(target, Target::File(_)) {
        return Ok(());
    }
    Err(Failure::new(
        format!("the source is for {}, this machine is {host}", offer.architecture),
        "name a source for this architecture with --source",
    ))
}

/// What the installed machine follows.
fn follow(arguments: &InstallArguments, source: &InstallSource, offer: &Offer) -> Option<String> {
    if let Some(follow) = &arguments.follow {
        return Some(follow.to_string());
    }
    match source {
        InstallSource::Live => offer.follows.clone(),
        // A file of this machine is not there on the other.
        InstallSource::Reference(source @ (Source::Registry(_) | Source::ShortName(_))) => {
            Some(source.to_string())
        }
        InstallSource::Reference(_) => None,
    }
}

fn make_plan(options: &PlanOptions<'_>) -> Result<Plan, Failure> {
    // As many as a table can have; asked for all at once, because a plan cannot fail in the middle.
    let mut identities = Vec::new();
    for _ in 0..kiln_disk::gpt::format::ENTRY_COUNT {
        identities.push(identity()?);
    }
    Ok(plan(options, &mut || identities.pop().unwrap_or_default())?)
}

fn scratch(arguments: &InstallArguments, paths: &Paths) -> PathBuf {
    match &arguments.scratch {
        Some(folder) => folder.clone(),
        None if paths.ledger.is_dir() => paths.ledger.join("install"),
        None => PathBuf::from(OTHER_WORK),
    }
}

/// What is left belongs to nobody; a folder with other files stays.
fn clear(scratch: &Path) {
    let _ = std::fs::remove_dir_all(scratch.join("fetch"));
    let _ = std::fs::remove_dir(scratch);
}

/// As the running system was built, where it is Kiln's, and with the logins of this call.
fn build_options(
    arguments: &InstallArguments,
    source: &InstallSource,
    paths: &Paths,
) -> Result<(BuildOptions, Arc<kiln_release::signature::Verifier>), Failure> {
    let fetch = &arguments.fetch;
    let mut registry = match source {
        InstallSource::Reference(source) if paths.ledger.is_dir() => {
            fetch.registry.options_of_machine(source, paths)?
        }
        InstallSource::Reference(source) => fetch.registry.options(&[source])?,
        InstallSource::Live => fetch.registry.options(&[])?,
    };
    let policy = policy::read(paths)?;
    let place = signature_repository()?;
    let verifier = Arc::new(policy.verifier(fetch.no_verify, place, &registry)?);
    if fetch.no_verify {
        render::warning(
            "signatures are not looked at (--no-verify): nobody vouches for what comes",
        );
    }
    registry.gate = Some(verifier.clone());
    let input = match source {
        InstallSource::Reference(source) => source.clone(),
        InstallSource::Live => Source::Directory("/".into()),
    };
    let mut options = fetch.build_options(input, registry, scratch(arguments, paths));
    // The new machine is another one, but whoever can log in here is who installs it.
    if let Ok(text) = std::fs::read(&paths.recipe) {
        Recipe::from_json(&text)?.apply(&mut options)?;
    }
    for user in arguments.users.users()? {
        options.users.retain(|known| known.name != user.name);
        options.users.push(user);
    }
    Ok((options, verifier))
}

/// The plan for people.
fn describe(plan: &Plan, source: &InstallSource, follow: Option<&str>, is_exact: bool) -> String {
    let mut text = format!(
        "{}: {}, sectors of {} bytes\n",
        plan.disk,
        format_size(plan.disk_length),
        plan.table.sector_size
    );
    text.push_str("\nerased:\n");
    for erased in &plan.erased {
        let what = match erased.number {
            0 => "the whole disk".to_owned(),
            number => format!("{number:>3}  {:<16}", erased.name),
        };
        text.push_str(&format!(
            "  {what} {:>10}  {}\n",
            format_size(erased.length),
            erased.contents
        ));
    }
    if plan.erased.is_empty() {
        text.push_str("  nothing: there are no partitions\n");
    }
    text.push_str("\nafterwards:\n");
    let sector_size = plan.table.sector_size;
    for (number, entry) in &plan.table.partitions {
        let is_new_state = entry.name == layout::STATE_NEW_NAME;
        let name = if is_new_state { layout::STATE.name } else { entry.name.as_str() };
        let stays = if plan.is_kept(entry) { "  stays as it is" } else { "" };
        let length = format_size(entry.length(sector_size));
        text.push_str(&format!("  {number:>3}  {name:<16} {length:>10}{stays}\n"));
    }
    if !is_exact {
        text.push_str("  (slots become larger if the root image has more than 1 GiB)\n");
    }
    text.push_str(&format!("\nsource: {source}\n"));
    if let Some(follow) = follow {
        text.push_str(&format!("follows: {follow}\n"));
    }
    text
}

fn to_json(plan: &Plan, source: &InstallSource, follow: Option<&str>, is_exact: bool) -> Value {
    let sector_size = plan.table.sector_size;
    let erased: Vec<Value> = plan
        .erased
        .iter()
        .map(|erased| {
            json!({
                "number": erased.number,
                "name": erased.name,
                "length": erased.length,
                "contents": erased.contents.kind,
                "label": erased.contents.label,
            })
        })
        .collect();
    let partitions: Vec<Value> = plan
        .table
        .partitions
        .iter()
        .map(|(number, entry)| {
            json!({
                "number": number,
                "name": entry.name,
                "offset": entry.offset(sector_size),
                "length": entry.length(sector_size),
                "guid": entry.guid.to_string(),
                "kept": plan.is_kept(entry),
            })
        })
        .collect();
    json!({
        "format": "kiln.install.v1",
        "disk": plan.disk,
        "length": plan.disk_length,
        "sector_size": sector_size,
        "source": match source {
            InstallSource::Live => "live".to_owned(),
            InstallSource::Reference(source) => source.to_string(),
        },
        "follow": follow,
        "exact": is_exact,
        "erased": erased,
        "partitions": partitions,
    })
}

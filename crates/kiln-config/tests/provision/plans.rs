//! Plans that no dialect would make, but whose every field has a value now and then.

use std::collections::BTreeMap;

use kiln_config::action::{
    Action, AuthorizedKeys, Command, Contents, Datasource, Directory, Dns, Entity, Environment,
    File, Git, GitAuth, Group, KernelArguments, Link, Owner, Password, Persistence, Remote,
    Setting, Source, Systemctl, SystemctlVerb, Unit, UnpackImage, User, Volume,
};
use kiln_config::operation::{
    Condition, Exists, Fact, Failure, Moment, Operation, Phase, Plan, Stage, Text,
};
use kiln_config::storage::{Disk, Filesystem, Layout, LayoutPartition, Luks, Partition, Raid};
use kiln_config::{SourceId, Span};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

fn word() -> BoxedStrategy<String> {
    prop_oneof!["[a-z0-9.-]{1,6}", "(null|true|0644|1e3|no)", any::<String>(), "[ -~\n]{0,9}"]
        .boxed()
}

fn text() -> BoxedStrategy<Text> {
    prop_oneof![word().prop_map(Text::Plain), word().prop_map(Text::Template)].boxed()
}

fn path() -> BoxedStrategy<String> {
    prop_oneof!["/[a-c]{1,2}", "/[a-z/ ]{0,5}", Just("/ü: #\"\n".to_owned())].boxed()
}

fn path_text() -> BoxedStrategy<Text> {
    prop_oneof![3 => path().prop_map(Text::Plain), 1 => word().prop_map(Text::Template)].boxed()
}

fn words() -> BoxedStrategy<Vec<String>> {
    vec(word(), 0..3).boxed()
}

fn texts() -> BoxedStrategy<Vec<Text>> {
    vec(text(), 0..3).boxed()
}

fn paths() -> BoxedStrategy<Vec<String>> {
    vec(path(), 0..3).boxed()
}

fn variables() -> BoxedStrategy<BTreeMap<String, Text>> {
    proptest::collection::btree_map(word(), text(), 0..3).boxed()
}

fn mode() -> BoxedStrategy<Option<u32>> {
    of(0_u32..=0o7777).boxed()
}

fn owner() -> BoxedStrategy<Owner> {
    (of(word()), of(word())).prop_map(|(user, group)| Owner { user, group }).boxed()
}

fn remote() -> BoxedStrategy<Remote> {
    (
        "https://[a-z]{1,5}/[!-~]{0,5}",
        vec((word(), word()), 0..3),
        prop_oneof![Just(0), any::<u64>()],
        prop_oneof![Just(0), any::<u64>()],
        of(word()),
        words(),
    )
        .prop_map(|(url, headers, timeout, header_timeout, proxy, authorities)| Remote {
            url,
            headers,
            timeout,
            header_timeout,
            proxy,
            authorities,
        })
        .boxed()
}

fn contents() -> BoxedStrategy<Contents> {
    let source = prop_oneof![
        vec(any::<u8>(), 0..12).prop_map(Source::Bytes),
        word().prop_map(|text| Source::Bytes(text.into_bytes())),
        word().prop_map(Source::Template),
        remote().prop_map(Source::Remote),
    ];
    (source, any::<bool>(), of("sha256-[0-9a-f]{64}"), any::<bool>())
        .prop_map(|(source, gzip, hash, secret)| Contents { source, gzip, hash, secret })
        .boxed()
}

fn disks() -> BoxedStrategy<Action> {
    let partition = (
        (of(any::<u32>()), of(word()), of(any::<u64>()), of(any::<u64>()), of(word()), of(word())),
        any::<[bool; 3]>(),
    )
        .prop_map(|((number, label, start_mib, size_mib, guid, type_guid), flags)| Partition {
            number,
            label,
            start_mib,
            size_mib,
            guid,
            type_guid,
            absent: flags[0],
            wipe_entry: flags[1],
            resize: flags[2],
        });
    let disk = (path(), any::<bool>(), vec(partition, 0..3))
        .prop_map(|(device, wipe_table, partitions)| Disk { device, wipe_table, partitions });
    let raid = (word(), word(), paths(), 0_u32..3, words()).prop_map(
        |(name, level, devices, spares, options)| Raid { name, level, devices, spares, options },
    );
    let luks = (
        word(),
        path(),
        of(contents()),
        of(word()),
        of(word()),
        words(),
        words(),
        any::<[bool; 2]>(),
    )
        .prop_map(|(name, device, key, label, uuid, options, open_options, flags)| Luks {
            name,
            device,
            key,
            label,
            uuid,
            options,
            open_options,
            discard: flags[0],
            wipe: flags[1],
        });
    let filesystem =
        (path(), of(word()), of(path()), of(word()), of(word()), words(), words(), any::<bool>())
            .prop_map(|(device, format, path, label, uuid, options, mount_options, wipe)| {
                Filesystem { device, format, path, label, uuid, options, mount_options, wipe }
            });
    let part = (of(word()), of(word()), 0_u64..3, of(word()), any::<bool>()).prop_map(
        |(fs_label, p_label, size_mib, format, bootable)| LayoutPartition {
            fs_label,
            p_label,
            size_mib,
            format,
            bootable,
        },
    );
    let layout =
        (of(word()), of(text()), any::<[bool; 2]>(), of(word()), of(any::<u64>()), vec(part, 0..3))
            .prop_map(|(label, path, flags, disk_name, expand, add)| Layout {
                label,
                path,
                init_disk: flags[0],
                add_first: flags[1],
                disk_name,
                expand,
                add,
            });
    prop_oneof![
        disk.prop_map(Action::Disk),
        raid.prop_map(Action::Raid),
        luks.prop_map(Action::Luks),
        filesystem.prop_map(Action::Filesystem),
        layout.prop_map(Action::Layout),
    ]
    .boxed()
}

fn trees() -> BoxedStrategy<Action> {
    let directory = (path_text(), mode(), owner(), any::<bool>())
        .prop_map(|(path, mode, owner, replace)| Directory { path, mode, owner, replace });
    let file = (path_text(), of(contents()), vec(contents(), 0..3), mode(), owner(), any::<bool>())
        .prop_map(|(path, contents, append, mode, owner, overwrite)| File {
            path,
            contents,
            append,
            mode,
            owner,
            overwrite,
        });
    let link =
        (path(), word(), any::<[bool; 2]>(), owner()).prop_map(|(path, target, flags, owner)| {
            Link { path, target, hard: flags[0], overwrite: flags[1], owner }
        });
    let environment =
        (path_text(), variables()).prop_map(|(file, variables)| Environment { file, variables });
    let persistence = (paths(), paths(), any::<[bool; 3]>(), of(word())).prop_map(
        |(persist, ephemeral, flags, ephemeral_size)| Persistence {
            persist,
            ephemeral,
            bind: flags[0],
            replace_persist: flags[1],
            replace_ephemeral: flags[2],
            ephemeral_size,
        },
    );
    let plain = (paths(), paths()).prop_map(|(persist, ephemeral)| Persistence {
        persist,
        ephemeral,
        ..Persistence::default()
    });
    let volume = (word(), path(), of(word()), vec("(ro|nofail|noatime)", 0..3))
        .prop_map(|(device, path, format, options)| Volume { device, path, format, options });
    prop_oneof![
        directory.prop_map(Action::Directory),
        file.prop_map(Action::File),
        link.prop_map(Action::Link),
        environment.prop_map(Action::Environment),
        persistence.prop_map(Action::Persistence),
        plain.prop_map(Action::Persistence),
        volume.prop_map(Action::Volume),
    ]
    .boxed()
}

fn accounts() -> BoxedStrategy<Action> {
    let password = prop_oneof![word().prop_map(Password::Hash), word().prop_map(Password::Plain)];
    let user = (
        (word(), of(password), of(any::<u32>()), of(word()), of(path()), of(word()), words()),
        (of(path()), words(), any::<[bool; 7]>()),
    )
        .prop_map(|(first, (shell, keys, flags))| {
            let (name, password, uid, gecos, home, primary_group, groups) = first;
            User {
                name,
                password,
                uid,
                gecos,
                home,
                primary_group,
                groups,
                shell,
                keys,
                create_home: flags[0],
                no_user_group: flags[1],
                no_log_init: flags[2],
                system: flags[3],
                lock: flags[4],
                absent: flags[5],
                keep_existing: flags[6],
            }
        });
    let group = (word(), of(any::<u32>()), of(word()), any::<[bool; 2]>()).prop_map(
        |(name, gid, password_hash, flags)| Group {
            name,
            gid,
            password_hash,
            system: flags[0],
            absent: flags[1],
        },
    );
    let keys = (text(), texts(), word()).prop_map(|(user, keys, file)| AuthorizedKeys {
        user,
        keys,
        file,
    });
    let entity = (of(text()), text(), any::<bool>()).prop_map(|(path, entity, delete)| Entity {
        path,
        entity,
        delete,
    });
    prop_oneof![
        user.prop_map(Action::User),
        group.prop_map(Action::Group),
        keys.prop_map(Action::AuthorizedKeys),
        entity.prop_map(Action::Entity),
    ]
    .boxed()
}

fn others() -> BoxedStrategy<Action> {
    let dropins = proptest::collection::btree_map(word(), text(), 0..3)
        .prop_map(|map| map.into_iter().collect::<Vec<_>>());
    let unit = (word(), of(text()), of(any::<bool>()), of(any::<bool>()), dropins).prop_map(
        |(name, contents, enabled, mask, dropins)| Unit { name, contents, enabled, mask, dropins },
    );
    let verb = prop_oneof![
        Just(SystemctlVerb::Enable),
        Just(SystemctlVerb::Disable),
        Just(SystemctlVerb::Mask),
        Just(SystemctlVerb::Start),
    ];
    let systemctl = (verb, text()).prop_map(|(verb, unit)| Systemctl { verb, unit });
    let setting = || (word(), text()).prop_map(|(name, value)| Setting { name, value });
    let dns =
        (texts(), texts(), texts(), of(text())).prop_map(|(nameservers, search, options, path)| {
            Dns { nameservers, search, options, path }
        });
    let datasource = (words(), of(word()), of(word()))
        .prop_map(|(providers, path, userdata_name)| Datasource { providers, path, userdata_name });
    let auth = (of(word()), of(word()), of(word()), of(word()), any::<bool>()).prop_map(
        |(username, password, private_key, public_key, insecure)| GitAuth {
            username,
            password,
            private_key,
            public_key,
            insecure,
        },
    );
    let git = (word(), word(), of(word()), any::<bool>(), auth).prop_map(
        |(url, path, branch, branch_only, auth)| Git { url, path, branch, branch_only, auth },
    );
    let image = (text(), text(), of(word())).prop_map(|(source, target, platform)| UnpackImage {
        source,
        target,
        platform,
    });
    let arguments = (words(), words()).prop_map(|(should_exist, should_not_exist)| {
        KernelArguments { should_exist, should_not_exist }
    });
    prop_oneof![
        unit.prop_map(Action::Unit),
        systemctl.prop_map(Action::Systemctl),
        text().prop_map(|script| Action::Command(Command { script })),
        text().prop_map(Action::Hostname),
        setting().prop_map(Action::Sysctl),
        setting().prop_map(Action::Module),
        variables().prop_map(Action::Timesyncd),
        dns.prop_map(Action::Dns),
        variables().prop_map(Action::SystemdFirstboot),
        datasource.prop_map(Action::Datasource),
        git.prop_map(Action::Git),
        image.prop_map(Action::UnpackImage),
        arguments.prop_map(Action::KernelArguments),
        "[a-z]{1,8}".prop_map(|name| Action::Report(format!("https://example.com/{name}"))),
    ]
    .boxed()
}

fn stage() -> BoxedStrategy<Stage> {
    let moment = prop_oneof![
        3 => Just(Moment::FirstBoot),
        1 => Just(Moment::PreRootfs),
        2 => Just(Moment::Rootfs),
        1 => Just(Moment::Initramfs),
        1 => Just(Moment::Fs),
        1 => Just(Moment::Boot),
        1 => Just(Moment::Network),
        1 => Just(Moment::Reconcile),
        1 => word().prop_map(Moment::Hook),
        1 => "(after-install|boot|first-boot|x.after|rootfs.before)".prop_map(Moment::Hook),
    ];
    let phase =
        prop_oneof![3 => Just(Phase::Main), 1 => Just(Phase::Before), 1 => Just(Phase::After)];
    (moment, phase).prop_map(|(moment, phase)| Stage { moment, phase }).boxed()
}

fn condition() -> BoxedStrategy<Condition> {
    let fact = prop_oneof![
        Just(Fact::Os),
        Just(Fact::OsVersion),
        Just(Fact::Architecture),
        Just(Fact::ServiceManager),
    ];
    let exists = prop_oneof![Just(Exists::All), Just(Exists::Any), Just(Exists::None)];
    prop_oneof![
        text().prop_map(Condition::Command),
        word().prop_map(Condition::Node),
        (fact, word()).prop_map(|(fact, expression)| Condition::Fact(fact, expression)),
        (exists, texts()).prop_map(|(exists, paths)| Condition::Files(exists, paths)),
    ]
    .boxed()
}

/// The rank that the section of an action has, so that sections are met as often as the general form.
fn usual_rank(action: &Action) -> u32 {
    match action {
        Action::Disk(_) | Action::Volume(_) => 0,
        Action::Raid(_) | Action::Persistence(_) => 1,
        Action::Luks(_) => 2,
        Action::Filesystem(_) => 3,
        Action::Group(_) => 4,
        Action::User(_) => 5,
        Action::Directory(_) => 6,
        Action::File(_) => 7,
        Action::Link(_) => 8,
        Action::Hostname(_) => 9,
        Action::Dns(_) => 10,
        Action::Unit(_) => 11,
        Action::KernelArguments(_) => 12,
        Action::Report(_) => 14,
        _ => 13,
    }
}

fn operation() -> BoxedStrategy<Operation> {
    let numbers = prop_oneof![2 => Just((0, 0)), 1 => (0_u32..3, 0_u32..3)];
    let rank = of(prop_oneof![0_u32..15, any::<u32>()]);
    let failure = prop_oneof![2 => Just(Failure::Abort), 1 => Just(Failure::Continue)];
    let conditions = prop_oneof![3 => Just(Vec::new()), 1 => vec(condition(), 0..3)];
    let action = prop_oneof![disks(), trees(), accounts(), others()];
    let name = prop_oneof![3 => Just(None), 1 => of(word())];
    (stage(), numbers, name, rank, failure, conditions, action)
        .prop_map(|(stage, (document, step), name, rank, failure, conditions, action)| Operation {
            stage,
            document,
            step,
            name,
            rank: rank.unwrap_or_else(|| usual_rank(&action)),
            failure,
            conditions,
            origin: Span::new(SourceId(0), 0, 0),
            action,
        })
        .boxed()
}

/// Any plan, unsorted.
pub fn plans() -> BoxedStrategy<Plan> {
    vec(operation(), 0..12).prop_map(|operations| Plan { operations }).boxed()
}

//! The tables of keys of all records but those that hold disks and contents.
//!
//! A key is named in the words of its field; where a word of a plan would need an explanation
//! (`no_user_group`), the key says the opposite and is true without a word.

use std::collections::BTreeMap;

use crate::action::{
    AuthorizedKeys, Command, Datasource, Directory, Dns, Entity, Environment, Git, GitAuth, Group,
    KernelArguments, Link, Owner, Password, Persistence, Setting, Systemctl, SystemctlVerb, Unit,
    UnpackImage, User, Volume,
};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::fields::Fields;
use crate::ignition::url::{self, Scheme};
use crate::node::Node;
use crate::operation::Text;
use crate::provision::contents::{owner_properties, take_owner, write_owner};
use crate::provision::shape::{
    Flag, Holes, Many, Maybe, Mode, Named, Number, Opposite, Path, PathHoles, Shape, Word, by_name,
    object, pairs, record,
};
use crate::provision::tree::Tree;

/// To whom an entry belongs, as a map of its own.
pub(crate) struct OwnerShape;

impl Shape for OwnerShape {
    type Value = Owner;

    fn read(node: &Node, _key: &'static str, out: &mut Diagnostics) -> Option<Owner> {
        let mut fields = Fields::open(node, "an owner", out)?.strict();
        let owner = take_owner(&mut fields);
        fields.finish();
        Some(owner)
    }

    fn write(owner: &Owner) -> Tree {
        Tree::Map(write_owner(owner))
    }

    fn schema() -> Tree {
        object(owner_properties(), Vec::new())
    }
}

/// An address that is told how the first boot ended.
///
/// Addresses of the same kinds as on the kernel command line. Plain http is taken with a warning and not
/// refused: what is sent holds names and paths but no secret, and nothing in the answer counts.
pub(crate) struct ReportAddress;

impl Shape for ReportAddress {
    type Value = String;

    fn read(node: &Node, key: &'static str, out: &mut Diagnostics) -> Option<String> {
        let address = Word::read(node, key, out)?;
        match url::check_http(&address) {
            Ok(Scheme::Http) => {
                let message = format!(
                    "`{}` is plain http: whoever is on the way can read the report, and answer for its reader",
                    url::shown(&address)
                );
                out.push(Diagnostic::warning("plain-http", node.span, message).hint("use https"));
            }
            Ok(_) => {}
            Err(fault) => {
                out.push(Diagnostic::error(fault.code, node.span, fault.message));
                return None;
            }
        }
        Some(address)
    }

    fn write(value: &String) -> Tree {
        Tree::text(value)
    }

    fn schema() -> Tree {
        Tree::map([("type", Tree::text("string")), ("pattern", Tree::text("^https?://"))])
    }
}

/// A password: as crypt(5) writes it, or `{plain: …}`.
pub(crate) struct PasswordShape;

impl Shape for PasswordShape {
    type Value = Password;

    fn read(node: &Node, key: &'static str, out: &mut Diagnostics) -> Option<Password> {
        if node.map().is_none() {
            let hash = Word::read(node, key, out)?;
            if !is_hash(&hash) {
                let message =
                    "this password is no hash as crypt(5) writes it; nobody can log in with it";
                let hint = "write the hash that `mkpasswd` prints, or `{plain: PASSWORD}`";
                out.push(Diagnostic::warning("no-hash", node.span, message).hint(hint));
            }
            return Some(Password::Hash(hash));
        }
        let mut fields = Fields::open(node, "a password", out)?.strict();
        let plain = fields.require_text("plain");
        fields.finish();
        let plain = plain?;
        let message = "this password stands here in clear; it is hashed before it is stored";
        let hint = "write the hash that `mkpasswd` prints, without `plain`";
        out.push(Diagnostic::warning("plain-password", plain.span, message).hint(hint));
        Some(Password::Plain(plain.value))
    }

    fn write(value: &Password) -> Tree {
        match value {
            Password::Hash(hash) => Tree::text(hash),
            Password::Plain(plain) => Tree::map([("plain", Tree::text(plain))]),
        }
    }

    fn schema() -> Tree {
        let plain = object(vec![("plain".to_owned(), Word::schema())], vec![Tree::text("plain")]);
        Tree::map([("oneOf", Tree::List(vec![Word::schema(), plain]))])
    }
}

/// Whether a word is meant to stand in shadow(5): a hash with its method, or a lock.
fn is_hash(word: &str) -> bool {
    word.starts_with('$') || word.starts_with(['!', '*']) || word == "x"
}

/// Drop-ins of a unit: name and text.
pub(crate) struct Dropins;

impl Shape for Dropins {
    type Value = Vec<(String, Text)>;

    fn read(node: &Node, key: &'static str, out: &mut Diagnostics) -> Option<Self::Value> {
        pairs::<Holes>(node, key, out)
    }

    fn write(value: &Self::Value) -> Tree {
        Tree::Map(value.iter().map(|(name, text)| (name.clone(), Holes::write(text))).collect())
    }

    fn schema() -> Tree {
        by_name(Holes::schema())
    }
}

/// A verb of `systemctl`.
pub(crate) struct Verb;

const VERBS: [(&str, SystemctlVerb); 4] = [
    ("enable", SystemctlVerb::Enable),
    ("disable", SystemctlVerb::Disable),
    ("mask", SystemctlVerb::Mask),
    ("start", SystemctlVerb::Start),
];

impl Shape for Verb {
    type Value = SystemctlVerb;

    fn read(node: &Node, key: &'static str, out: &mut Diagnostics) -> Option<SystemctlVerb> {
        choice(node, key, &VERBS, out)
    }

    fn write(value: &SystemctlVerb) -> Tree {
        written(value, &VERBS)
    }

    fn schema() -> Tree {
        choices(&VERBS)
    }
}

/// One of some words; the nearest is suggested for one that is none.
pub(crate) fn choice<T: Clone>(
    node: &Node,
    key: &'static str,
    words: &[(&'static str, T)],
    out: &mut Diagnostics,
) -> Option<T> {
    let word = Word::read(node, key, out)?;
    if let Some((_, value)) = words.iter().find(|(name, _)| *name == word) {
        return Some(value.clone());
    }
    let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
    let hint = match crate::suggest::nearest(&word, names.iter().copied()) {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("use one of {}", names.join(", ")),
    };
    let message = format!("`{key}` cannot be `{word}`");
    out.push(Diagnostic::error("unknown-value", node.span, message).hint(hint));
    None
}

/// The word of a value.
pub(crate) fn written<T: PartialEq>(value: &T, words: &[(&str, T)]) -> Tree {
    let word = words.iter().find(|(_, other)| other == value).map(|(name, _)| *name);
    Tree::text(word.unwrap_or_default())
}

/// The words in a schema.
pub(crate) fn choices<T>(words: &[(&str, T)]) -> Tree {
    Tree::map([("enum", Tree::List(words.iter().map(|(name, _)| Tree::text(*name)).collect()))])
}

record! {
    /// A folder.
    DirectoryShape: Directory, "a directory";
    needs { "path" path: PathHoles, "Where."; }
    takes {
        "mode" mode: Maybe<Mode> = None, "Permission bits in octal notation; without it 0755, or what they are.";
        "owner" owner: OwnerShape = Owner::default(), "To whom it belongs.";
        "replace" replace: Flag = false, "Whether what is there, a folder with all in it included, gives way.";
    }
}

record! {
    /// A link.
    LinkShape: Link, "a link";
    needs {
        "path" path: Path, "Where.";
        "target" target: Word, "What it points to.";
    }
    takes {
        "hard" hard: Flag = false, "A hard link instead of a symbolic one.";
        "owner" owner: OwnerShape = Owner::default(), "To whom a symbolic one belongs.";
        "overwrite" overwrite: Flag = true, "Whether what is there gives way.";
    }
}

record! {
    /// One entry of an account file.
    EntityShape: Entity, "an entity";
    needs { "entity" entity: Holes, "The entry as YAML text, in the words of yip."; }
    takes {
        "path" path: Maybe<Holes> = None, "The file; without it the one of its kind in /etc.";
        "delete" delete: Flag = false, "Whether it is to be absent.";
    }
}

record! {
    /// A group.
    GroupShape: Group, "a group";
    needs { "name" name: Word, "Name."; }
    takes {
        "gid" gid: Maybe<Number<u32>> = None, "Number; without it the next free one.";
        "passwordHash" password_hash: Maybe<Word> = None, "Hash of a password, crypt(5).";
        "system" system: Flag = false, "Whether it takes a number of the system's range.";
        "absent" absent: Flag = false, "Whether it is to be absent.";
    }
}

record! {
    /// A user.
    UserShape: User, "a user";
    needs { "name" name: Word, "Name."; }
    takes {
        "password" password: Maybe<PasswordShape> = None,
            "Hash of the password as crypt(5) writes it, or {plain: PASSWORD}.";
        "uid" uid: Maybe<Number<u32>> = None, "Number; without it the next free one.";
        "comment" gecos: Maybe<Word> = None, "Full name and the like.";
        "home" home: Maybe<Path> = None, "Home folder; without it /home/NAME.";
        "createHome" create_home: Flag = true, "Whether the home folder is made.";
        "primaryGroup" primary_group: Maybe<Word> = None, "Main group; without it one of the user's own name.";
        "groups" groups: Many<Word> = Vec::new(), "Further groups.";
        "createGroup" no_user_group: Opposite = false, "Whether a group of the user's own name is made.";
        "logInit" no_log_init: Opposite = false, "Whether lastlog and faillog get an entry.";
        "shell" shell: Maybe<Path> = None, "Shell; without it the image's default.";
        "system" system: Flag = false, "Whether it takes a number of the system's range.";
        "lock" lock: Flag = false, "Whether no password opens it.";
        "sshKeys" keys: Many<Word> = Vec::new(), "Public keys that may log in.";
        "absent" absent: Flag = false, "Whether it is to be absent.";
        "keepExisting" keep_existing: Flag = false, "Whether a user that is there keeps all but its password.";
    }
}

record! {
    /// Keys that may log in.
    KeysShape: AuthorizedKeys, "authorized keys";
    needs { "user" user: Holes, "Whose."; }
    takes {
        "keys" keys: Many<Holes> = Vec::new(), "Public keys, github:NAME, gitlab:NAME or https addresses.";
        "file" file: Word = "authorized_keys".to_owned(), "File below .ssh.";
    }
}

record! {
    /// A systemd unit.
    UnitShape: Unit, "a unit";
    needs { "name" name: Word, "Name with suffix."; }
    takes {
        "contents" contents: Maybe<Holes> = None, "Text of the unit; without it the image's own.";
        "enabled" enabled: Maybe<Flag> = None, "Whether it starts by itself; without it as the image has it.";
        "mask" mask: Maybe<Flag> = None, "Whether it can be started at all.";
        "dropins" dropins: Dropins = Vec::new(), "Additions to the unit: NAME.conf and its text.";
    }
}

record! {
    /// A verb of systemctl.
    SystemctlShape: Systemctl, "a verb of systemctl";
    needs {
        "unit" unit: Holes, "The unit.";
        "verb" verb: Verb, "The verb.";
    }
    takes {}
}

record! {
    /// A command.
    CommandShape: Command, "a command";
    needs { "script" script: Holes, "Given to `sh -c`."; }
    takes {}
}

record! {
    /// A name with a value.
    SettingShape: Setting, "a setting";
    needs {
        "name" name: Word, "Name.";
        "value" value: Holes, "Value.";
    }
    takes {}
}

record! {
    /// Variables of an environment file.
    EnvironmentShape: Environment, "an environment";
    needs { "file" file: PathHoles, "The file."; }
    takes {
        "variables" variables: Named<Holes> = BTreeMap::new(), "The variables.";
    }
}

record! {
    /// User data of a cloud.
    DatasourceShape: Datasource, "a datasource";
    needs { "providers" providers: Many<Word>, "Names of the providers, in order."; }
    takes {
        "path" path: Maybe<Word> = None, "Folder into which it is written.";
        "userdataName" userdata_name: Maybe<Word> = None, "Name of the file; without it userdata.yaml.";
    }
}

record! {
    /// A git repository.
    GitShape: Git, "a git repository";
    needs {
        "url" url: Word, "Address.";
        "path" path: Word, "Where it is put.";
    }
    takes {
        "branch" branch: Maybe<Word> = None, "Branch; without it master.";
        "branchOnly" branch_only: Flag = false, "Whether only that branch is fetched.";
        "auth" auth: GitAuthShape = GitAuth::default(), "How the machine proves who it is.";
    }
}

record! {
    /// A container image unpacked into a folder.
    ImageShape: UnpackImage, "an image to unpack";
    needs {
        "source" source: Holes, "Reference.";
        "target" target: Holes, "Folder.";
    }
    takes {
        "platform" platform: Maybe<Word> = None, "OS/ARCH; without it the machine's own.";
    }
}

record! {
    /// A volume that is mounted at each boot.
    VolumeShape: Volume, "a volume";
    needs {
        "path" path: Path, "Where it is mounted.";
        "device" device: Word, "LABEL=, UUID=, PARTLABEL=, PARTUUID= or a path below /dev.";
    }
    takes {
        "format" format: Maybe<Word> = None, "File system; without it what is found.";
        "options" options: Many<Word> = Vec::new(), "Options of mount(8); with `nofail` a boot goes on without it.";
    }
}

/// Records of which every key may be absent.
macro_rules! options {
    ($(#[$meta:meta])* $shape:ident: $value:ident, $what:literal;
     $($key:literal $field:ident: $kind:ty = $default:expr, $help:literal;)*) => {
        $(#[$meta])*
        pub(crate) struct $shape;

        impl Shape for $shape {
            type Value = $value;

            fn read(node: &Node, _key: &'static str, out: &mut Diagnostics) -> Option<$value> {
                let mut fields = Fields::open(node, $what, out)?.strict();
                $(let $field = crate::provision::shape::take::<$kind>(&mut fields, $key);)*
                fields.finish();
                Some($value { $($field: $field.unwrap_or_else(|| $default),)* })
            }

            fn write(value: &$value) -> Tree {
                let mut entries = Vec::new();
                $(let default: <$kind as Shape>::Value = $default;
                if value.$field != default {
                    entries.push(($key.to_owned(), <$kind as Shape>::write(&value.$field)));
                })*
                Tree::Map(entries)
            }

            fn schema() -> Tree {
                use crate::provision::shape::{described, shown};
                object(vec![$(($key.to_owned(), described(<$kind as Shape>::schema(), $help,
                    shown(<$kind as Shape>::write(&$default)))),)*], Vec::new())
            }
        }
    };
}
pub(crate) use options;

options! {
    /// Proof of who a machine is.
    GitAuthShape: GitAuth, "auth";
    "username" username: Maybe<Word> = None, "Name of the user.";
    "password" password: Maybe<Word> = None, "Password or token.";
    "privateKey" private_key: Maybe<Word> = None, "Private key for ssh.";
    "publicKey" public_key: Maybe<Word> = None, "The server's public key, as known_hosts has it.";
    "insecure" insecure: Flag = false, "Whether the server need not prove who it is.";
}

options! {
    /// Name servers.
    DnsShape: Dns, "dns";
    "servers" nameservers: Many<Holes> = Vec::new(), "Addresses of name servers.";
    "search" search: Many<Holes> = Vec::new(), "Domains that are searched.";
    "options" options: Many<Holes> = Vec::new(), "Options of resolv.conf(5).";
    "path" path: Maybe<Holes> = None, "The file; without it /etc/resolv.conf.";
}

options! {
    /// Kernel arguments.
    KernelArgumentsShape: KernelArguments, "kernel arguments";
    "add" should_exist: Many<Word> = Vec::new(), "To be there.";
    "remove" should_not_exist: Many<Word> = Vec::new(), "To be absent.";
}

options! {
    /// Paths that are writable.
    PersistenceShape: Persistence, "persistence";
    "persist" persist: Many<Path> = Vec::new(), "Paths whose changes live on.";
    "ephemeral" ephemeral: Many<Path> = Vec::new(), "Paths whose changes are gone with the next boot.";
    "bind" bind: Flag = false, "Copies of the image's folders are bound over them, instead of an overlay.";
    "replacePersist" replace_persist: Flag = false, "Whether `persist`, also an empty one, takes the place of the default and of earlier lists that did; what others add stays beside it.";
    "replaceEphemeral" replace_ephemeral: Flag = false, "The same for `ephemeral`.";
    "ephemeralSize" ephemeral_size: Maybe<Word> = None, "Memory for what is gone with the next boot, as 25% or 2G.";
}

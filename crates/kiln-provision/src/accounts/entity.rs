//! One entry of an account file, in the words of yip's entities: `user`, `shadow`, `group`, `gshadow`.
//!
//! What an entity states replaces that field of an entry that is there, what it leaves out is kept, and
//! lists of members grow. A number of -1 is the next free one, and `now` as the day of the last change
//! is today.

use std::collections::BTreeMap;

use kiln_config::action::{Entity, Password};
use kiln_config::{SourceId, yaml};
use kiln_etc::accounts::AccountFile::{Group, Gshadow, Passwd, Shadow};
use kiln_etc::accounts::{AccountFile, Accounts, Editor, FILE_MAXIMUM};

use super::group::free_number;
use super::{check_name, malformed, members, refused};
use crate::{Error, Surroundings};

/// The kinds: file, key of the name, and keys of the fields behind it. The empty key is a field that
/// no entity sets.
const KINDS: [(&str, AccountFile, &[&str]); 4] = [
    ("user", Passwd, &["username", "password", "uid", "gid", "info", "homedir", "shell"]),
    (
        "shadow",
        Shadow,
        &[
            "username",
            "password",
            "last_changed",
            "minimum_changed",
            "maximum_changed",
            "warn",
            "inactive",
            "expire",
            "reserved",
        ],
    ),
    ("group", Group, &["group_name", "password", "gid", "users"]),
    ("gshadow", Gshadow, &["name", "password", "administrators", "members"]),
];
/// Fields that are lists.
const LISTS: [&str; 3] = ["users", "administrators", "members"];

impl Surroundings<'_> {
    pub(crate) fn entity(&mut self, entity: &Entity) -> Result<(), Error> {
        let text = self.text(&entity.entity)?;
        let mut wish = Wish::parse(&text)?;
        wish.today = self.today;
        if let Some(clear) = wish.clear_password() {
            let hash = self.hashed(&wish.name, &Password::Plain(clear))?;
            wish.stated.insert("password".into(), hash);
        }
        let path = entity.path.as_ref().map(|path| self.text(path)).transpose()?;
        let Some(path) = path.filter(|path| *path != super::path(wish.file)) else {
            return self.edit(|_, editor| wish.apply(editor, entity.delete));
        };
        // A file of the same form somewhere else.
        let mut accounts = Accounts::default();
        accounts.set(wish.file, self.root.read(&path, FILE_MAXIMUM)?);
        let mut editor = Editor::new(accounts);
        wish.apply(&mut editor, entity.delete)?;
        let there = self.root.target(&path)?;
        let (mode, owner) = there.map_or((super::CLOSED_MODE, crate::Owner::default()), |status| {
            (status.mode, status.owner)
        });
        for (_, text) in editor.finish() {
            self.root.write(&path, &text, mode, owner)?;
        }
        Ok(())
    }
}

/// An entity that was read.
#[derive(Debug)]
struct Wish {
    file: AccountFile,
    keys: &'static [&'static str],
    name: String,
    stated: BTreeMap<String, String>,
    today: u64,
}

impl Wish {
    fn parse(text: &str) -> Result<Self, Error> {
        let bad = |reason: String| refused("entity", reason);
        let node = yaml::document(SourceId(0), text).map_err(|fault| bad(fault.message))?;
        let map = node.map().ok_or_else(|| bad("it is no map".into()))?;
        let mut stated = BTreeMap::new();
        for (key, value) in map {
            if let Some(text) = value.text() {
                stated.insert(key.text.clone(), text.to_owned());
            }
        }
        let kind = stated.get("kind").map_or("", String::as_str);
        let (_, file, keys) = KINDS
            .into_iter()
            .find(|(name, ..)| *name == kind)
            .ok_or_else(|| bad(format!("kind `{kind}` is none of user, shadow, group, gshadow")))?;
        let name_key = keys.first().copied().unwrap_or_default();
        let name = stated.get(name_key).cloned().unwrap_or_default();
        check_name(&name)?;
        Ok(Self { file, keys, name, stated, today: 0 })
    }

    /// A password in clear, which only `shadow` may have.
    fn clear_password(&self) -> Option<String> {
        let field = self.stated.get("password")?;
        let is_clear = self.file == Shadow
            && !field.is_empty()
            && !field.starts_with(['$', '!', '*'])
            && field != "x";
        is_clear.then(|| field.clone())
    }

    fn apply(&self, editor: &mut Editor, delete: bool) -> Result<(), Error> {
        if delete {
            editor.remove(self.file, &self.name);
            return Ok(());
        }
        let there = editor.get(self.file, &self.name);
        let is_new = there.is_none();
        let mut entry = there.unwrap_or_else(|| vec![String::new(); self.keys.len()]);
        for (field, key) in entry.iter_mut().zip(self.keys) {
            match self.stated.get(*key) {
                Some(value) if LISTS.contains(key) => *field = grown(field, value),
                Some(value) if *key == "last_changed" && value == "now" => {
                    *field = self.today.to_string();
                }
                Some(value) if matches!(*key, "uid" | "gid") && value == "-1" => {
                    if is_new || field.is_empty() {
                        let free = free_number(editor, false);
                        let free = free.ok_or_else(|| refused(&self.name, "no number is free"))?;
                        *field = free.to_string();
                    }
                }
                Some(value) if !value.is_empty() => field.clone_from(value),
                Some(_) | None => {}
            }
        }
        if is_new && self.file != Shadow {
            self.complete(editor, &mut entry)?;
        }
        editor.put(self.file, &entry).map_err(malformed(&self.name))
    }

    /// What an entry cannot do without.
    fn complete(&self, editor: &Editor, entry: &mut [String]) -> Result<(), Error> {
        for (field, key) in entry.iter_mut().zip(self.keys) {
            if !field.is_empty() {
                continue;
            }
            match *key {
                "password" => *field = if self.file == Gshadow { "!" } else { "x" }.into(),
                "uid" | "gid" => {
                    let of_group = || editor.number(Group, &self.name, 2);
                    let known = (self.file == Passwd && *key == "gid").then(of_group).flatten();
                    let number = known.or_else(|| free_number(editor, false));
                    let number = number.ok_or_else(|| refused(&self.name, "no number is free"))?;
                    *field = number.to_string();
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// A list with the members of another that it lacks.
fn grown(old: &str, new: &str) -> String {
    let mut all = members(old);
    for name in new.split([',', ' ']).filter(|name| !name.is_empty()) {
        if !all.iter().any(|known| known == name) {
            all.push(name.to_owned());
        }
    }
    all.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(text: &str, delete: bool) -> Result<String, String> {
        let mut accounts = Accounts::default();
        accounts.set(Passwd, Some("ann:x:1000:1000:Ann:/home/ann:/bin/sh\n".into()));
        accounts.set(Shadow, Some("ann:$6$x:1:0:99999:7:::\n".into()));
        accounts.set(Group, Some("wheel:x:10:ann\nnew:x:1005:\n".into()));
        accounts.set(Gshadow, Some("wheel:!::ann\n".into()));
        let mut editor = Editor::new(accounts);
        let mut wish = Wish::parse(text).map_err(|error| error.to_string())?;
        wish.today = 20_000;
        wish.apply(&mut editor, delete).map_err(|error| error.to_string())?;
        let texts = editor.finish().into_iter().map(|(_, text)| String::from_utf8(text).unwrap());
        Ok(texts.collect())
    }

    #[test]
    fn each_kind_is_added_merged_and_deleted() {
        let ann = "ann:x:1000:1000:Ann:/home/ann:/bin/sh\n";
        let user = format!("{ann}new:x:1001:1005::/home/new:/bin/sh\n");
        let groups = "wheel:x:10:ann\nnew:x:1005:\n";
        let cases: [(&str, bool, &str); 10] = [
            (
                "kind: user\nusername: new\npassword: x\nuid: -1\nhomedir: /home/new\nshell: /bin/sh",
                false,
                &user,
            ),
            (
                "kind: user\nusername: ann\nshell: /bin/zsh\nuid: -1",
                false,
                "ann:x:1000:1000:Ann:/home/ann:/bin/zsh\n",
            ),
            ("kind: user\nusername: ann", true, ""),
            (
                "kind: shadow\nusername: ann\npassword: $6$y\nlast_changed: now",
                false,
                "ann:$6$y:20000:0:99999:7:::\n",
            ),
            (
                "kind: shadow\nusername: new\npassword: '!'\nlast_changed: now",
                false,
                "ann:$6$x:1:0:99999:7:::\nnew:!:20000::::::\n",
            ),
            (
                "kind: group\ngroup_name: wheel\nusers: joe,ann",
                false,
                "wheel:x:10:ann,joe\nnew:x:1005:\n",
            ),
            (
                "kind: group\ngroup_name: \"other\"\npassword: x\ngid: 1\nusers: \"a,b\"",
                false,
                &format!("{groups}other:x:1:a,b\n"),
            ),
            ("kind: group\ngroup_name: g\ngid: -1", false, &format!("{groups}g:x:1001:\n")),
            (
                "kind: gshadow\nname: wheel\nadministrators: root\nmembers: joe",
                false,
                "wheel:!:root:ann,joe\n",
            ),
            ("kind: gshadow\nname: none", true, ""),
        ];
        for (text, delete, expected) in cases {
            assert_eq!(after(text, delete).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn bad_entities_are_named() {
        for (text, expected) in [
            ("kind: host\nname: x", "`host`"),
            ("kind: user", "names have"),
            ("kind: user\nusername: 'a:b'", "names have"),
            ("kind: group\ngroup_name: g\ngid: many", "no entry"),
            ("kind: [", "entity"),
            ("- a", "no map"),
        ] {
            let message = after(text, false).unwrap_err();
            assert!(message.contains(expected), "{text}: {message}");
        }
    }
}

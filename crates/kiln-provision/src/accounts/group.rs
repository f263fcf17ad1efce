//! Groups.

use kiln_config::action::Group;
use kiln_etc::accounts::AccountFile::{Group as GroupFile, Gshadow, Passwd};
use kiln_etc::accounts::Editor;

use super::{PERSON_IDS, SYSTEM_IDS, check_name, fields, malformed, refused};
use crate::{Error, Surroundings};

impl Surroundings<'_> {
    pub(crate) fn group(&mut self, group: &Group) -> Result<(), Error> {
        check_name(&group.name)?;
        if group.password_hash.as_ref().is_some_and(|hash| hash.contains([':', '\n', '\r'])) {
            return Err(refused(
                &group.name,
                "the hash of its password holds a colon or line break",
            ));
        }
        let has_gshadow = self.has(Gshadow)?;
        self.edit(|_, editor| change(editor, group, has_gshadow))
    }
}

/// Brings the files to what is wanted of a group.
fn change(editor: &mut Editor, group: &Group, has_gshadow: bool) -> Result<(), Error> {
    let name = group.name.as_str();
    let there = editor.number(GroupFile, name, 2);
    if group.absent {
        if let Some(gid) = there {
            if let Some(user) = editor.name_of(Passwd, 3, gid) {
                return Err(refused(name, format!("it is the main group of `{user}`")));
            }
            editor.remove(GroupFile, name);
            editor.remove(Gshadow, name);
        }
        return Ok(());
    }
    let gid = match (group.gid, there) {
        (Some(gid), _) => {
            if let Some(other) = editor.name_of(GroupFile, 2, gid).filter(|other| other != name) {
                return Err(refused(name, format!("number {gid} belongs to group `{other}`")));
            }
            gid
        }
        (None, Some(gid)) => gid,
        (None, None) => free_number(editor, group.system)
            .ok_or_else(|| refused(name, "no number is free for it"))?,
    };
    put(editor, name, gid, has_gshadow)?;
    let Some(hash) = &group.password_hash else { return Ok(()) };
    // Where there is no gshadow the hash is in the open file, as in gpasswd(1).
    let file = if has_gshadow { Gshadow } else { GroupFile };
    if let Some(mut entry) = editor.get(file, name)
        && let Some(field) = entry.get_mut(1)
    {
        field.clone_from(hash);
        editor.put(file, &entry).map_err(malformed(name))?;
    }
    Ok(())
}

/// A number for somebody new.
pub(super) fn free_number(editor: &Editor, system: bool) -> Option<u32> {
    if system {
        editor.free_number(SYSTEM_IDS, true)
    } else {
        editor.free_number(PERSON_IDS, false)
    }
}

/// Sets a group's number, and adds it where it is not there yet.
pub(super) fn put(
    editor: &mut Editor,
    name: &str,
    gid: u32,
    has_gshadow: bool,
) -> Result<(), Error> {
    let number = gid.to_string();
    let mut entry = editor.get(GroupFile, name).unwrap_or_else(|| fields([name, "x", &number, ""]));
    if let Some(field) = entry.get_mut(2) {
        *field = number;
    }
    editor.put(GroupFile, &entry).map_err(malformed(name))?;
    if has_gshadow && editor.get(Gshadow, name).is_none() {
        let list = entry.get(3).map_or("", String::as_str);
        editor.put(Gshadow, &fields([name, "!", "", list])).map_err(malformed(name))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_etc::accounts::Accounts;

    const GROUPS: &str = "root:x:0:\nwheel:x:10:joe\njoe:x:1000:\n";

    fn after(group: &Group) -> Result<(String, String), String> {
        let mut accounts = Accounts::default();
        accounts.set(GroupFile, Some(GROUPS.into()));
        accounts.set(Gshadow, Some("root:::\nwheel:!::joe\n".into()));
        accounts.set(Passwd, Some("joe:x:1000:1000::/home/joe:/bin/sh\n".into()));
        let mut editor = Editor::new(accounts);
        change(&mut editor, group, true).map_err(|error| error.to_string())?;
        let mut texts = (String::new(), String::new());
        for (file, text) in editor.finish() {
            let text = String::from_utf8(text).unwrap();
            let place = if file == GroupFile { &mut texts.0 } else { &mut texts.1 };
            *place = text;
        }
        Ok(texts)
    }

    fn group(name: &str) -> Group {
        Group { name: name.into(), ..Group::default() }
    }

    #[test]
    fn groups_are_added_changed_and_removed() {
        let new = after(&group("new")).unwrap();
        assert!(new.0.ends_with("new:x:1001:\n") && new.1.ends_with("new:!::\n"), "{new:?}");
        let system = after(&Group { system: true, ..group("svc") }).unwrap();
        assert!(system.0.ends_with("svc:x:999:\n"), "{system:?}");
        let moved = after(&Group { gid: Some(11), ..group("wheel") }).unwrap();
        assert!(moved.0.contains("wheel:x:11:joe\n"), "{moved:?}");
        let secret =
            after(&Group { password_hash: Some("$6$x".into()), ..group("wheel") }).unwrap();
        assert!(secret.1.contains("wheel:$6$x::joe\n") && secret.0.is_empty(), "{secret:?}");
        let gone = after(&Group { absent: true, ..group("wheel") }).unwrap();
        assert!(!gone.0.contains("wheel") && !gone.1.contains("wheel"), "{gone:?}");
        assert_eq!(after(&group("joe")).unwrap().0, "", "what is there stays");
    }

    #[test]
    fn what_would_break_others_is_refused() {
        for (wish, expected) in [
            (Group { gid: Some(10), ..group("new") }, "`wheel`"),
            (Group { absent: true, ..group("joe") }, "main group of `joe`"),
        ] {
            let message = after(&wish).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
        assert_eq!(after(&Group { absent: true, ..group("none") }).unwrap().0, "");
    }
}

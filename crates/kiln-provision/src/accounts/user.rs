//! Users: which number, which groups, which lines.
//!
//! Two rules for one that is there (`User::keep_existing`): yip changes its password and nothing else,
//! Ignition changes what is stated. A new one keeps the number of the owner of its home folder, so
//! that a home on a disk that was kept still belongs to it.

use kiln_config::action::User;
use kiln_etc::accounts::AccountFile::{Group, Gshadow, Passwd, Shadow, Subgid, Subuid};
use kiln_etc::accounts::Editor;

use super::group::{free_number, put};
use super::home::Home;
use super::{PERSON_IDS, check_name, decimal, fields, malformed, refused, set_member};
use crate::conditions::{SETTINGS_BYTES, variable};
use crate::{Error, Kind, Surroundings};

/// Settings of useradd(8).
const USERADD: &str = "/etc/default/useradd";
/// Main group of users without one of their own, where nothing says another (`users`).
const COMMON_GROUP: u32 = 100;
/// Password field that no password fits; keys may log in.
const NO_PASSWORD: &str = "*";
/// Password field of a locked account.
const LOCKED: &str = "!";
/// Days that a password is good for, and days of warning before (login.defs(5)).
const AGING: [&str; 3] = ["0", "99999", "7"];
/// Subordinate ids of a user, and where they begin (login.defs(5)).
const SUBORDINATE_COUNT: u64 = 65_536;
const SUBORDINATE_START: u64 = 100_000;

/// What the machine says to a wish.
#[derive(Debug, Default)]
struct Machine {
    /// Field of the password.
    password: Option<String>,
    /// Owner of the home folder, if it is there.
    home_owner: Option<u32>,
    shell: String,
    common_group: u32,
    has_gshadow: bool,
    has_subordinates: bool,
    today: u64,
}

/// What is left to do when the account files are written.
#[derive(Debug, Default, PartialEq, Eq)]
struct Rest {
    home: Option<Home>,
    /// Groups that do not exist.
    missing: Vec<String>,
}

impl Surroundings<'_> {
    pub(crate) fn user(&mut self, user: &User) -> Result<(), Error> {
        check_name(&user.name)?;
        let machine = self.machine_of(user)?;
        let rest = self.edit(|_, editor| change(editor, user, &machine))?;
        if let Some(home) = &rest.home {
            self.make_home(home)?;
        }
        if !user.keys.is_empty() && !user.absent {
            self.add_keys(&user.name, &user.keys, "authorized_keys")?;
        }
        if rest.missing.is_empty() {
            return Ok(());
        }
        let list = rest.missing.join("`, `");
        Err(refused(&user.name, format!("there is no group `{list}`")))
    }

    fn machine_of(&mut self, user: &User) -> Result<Machine, Error> {
        let password = user.password.as_ref();
        let password = password.map(|given| self.hashed(&user.name, given)).transpose()?;
        let settings = self.root.text(USERADD, SETTINGS_BYTES)?.unwrap_or_default();
        let shell = match variable(&settings, "SHELL").filter(|shell| !shell.is_empty()) {
            Some(shell) => shell,
            None if self.root.target("/bin/bash")?.is_some() => "/bin/bash".into(),
            None => "/bin/sh".into(),
        };
        let common_group = variable(&settings, "GROUP").and_then(|group| decimal(&group));
        let home = self.root.target(&home_of(user))?;
        Ok(Machine {
            password,
            home_owner: home
                .filter(|status| status.kind == Kind::Folder)
                .map(|status| status.owner.user),
            shell,
            common_group: common_group.unwrap_or(COMMON_GROUP),
            has_gshadow: self.has(Gshadow)?,
            has_subordinates: self.has(Subuid)? && self.has(Subgid)?,
            today: self.today,
        })
    }
}

fn home_of(user: &User) -> String {
    user.home.clone().unwrap_or_else(|| format!("/home/{}", user.name))
}

/// Brings the files to what is wanted of a user.
fn change(editor: &mut Editor, user: &User, machine: &Machine) -> Result<Rest, Error> {
    let is_there = editor.get(Passwd, &user.name).is_some();
    if user.absent {
        remove(editor, user)?;
        return Ok(Rest::default());
    }
    if is_there && user.keep_existing {
        if let Some(field) = &machine.password {
            set_password(editor, &user.name, field, machine.today)?;
        }
        return Ok(Rest::default());
    }
    let uid = number(editor, user, machine)?;
    let gid = main_group(editor, user, machine, uid)?;
    let (uid_text, gid_text) = (uid.to_string(), gid.to_string());
    let home = home_of(user);
    let shell = user.shell.as_deref().unwrap_or(&machine.shell);
    let entry = match editor.get(Passwd, &user.name) {
        None => {
            let gecos = user.gecos.as_deref().unwrap_or_default();
            fields([&user.name, "x", &uid_text, &gid_text, gecos, &home, shell])
        }
        Some(mut entry) => {
            let stated = [
                (2, Some(&uid_text)),
                (3, Some(&gid_text)),
                (4, user.gecos.as_ref()),
                (5, user.home.as_ref()),
                (6, user.shell.as_ref()),
            ];
            for (number, value) in stated {
                if let (Some(field), Some(value)) = (entry.get_mut(number), value) {
                    field.clone_from(value);
                }
            }
            entry
        }
    };
    editor.put(Passwd, &entry).map_err(malformed(&user.name))?;
    let field = match &machine.password {
        _ if user.lock => Some(LOCKED),
        Some(field) => Some(field.as_str()),
        None if editor.get(Shadow, &user.name).is_none() => Some(NO_PASSWORD),
        None => None,
    };
    if let Some(field) = field {
        set_password(editor, &user.name, field, machine.today)?;
    }
    if !is_there && !user.system && machine.has_subordinates {
        add_subordinates(editor, &user.name)?;
    }
    let mut missing = Vec::new();
    for group in &user.groups {
        let name = match decimal(group) {
            Some(number) => editor.name_of(Group, 2, number),
            None => editor.get(Group, group).map(|_| group.clone()),
        };
        match name {
            Some(name) => set_member(editor, &name, &user.name, true)?,
            None => missing.push(group.clone()),
        }
    }
    let path = entry.get(5).cloned().unwrap_or(home);
    let home = (user.create_home && !is_there).then_some(Home { path, uid, gid });
    Ok(Rest { home, missing })
}

/// The number of a user: the stated one, its own, that of its home's owner, that of the group of its
/// name, or the next free one.
fn number(editor: &Editor, user: &User, machine: &Machine) -> Result<u32, Error> {
    let holder = |uid| editor.name_of(Passwd, 2, uid).filter(|name| *name != user.name);
    if let Some(uid) = user.uid {
        return match holder(uid) {
            Some(other) => {
                Err(refused(&user.name, format!("number {uid} belongs to user `{other}`")))
            }
            None => Ok(uid),
        };
    }
    let range = |uid: &u32| user.system || PERSON_IDS.contains(uid);
    let of_home = machine.home_owner.filter(|uid| *uid != 0);
    let of_group = editor.number(Group, &user.name, 2);
    editor
        .number(Passwd, &user.name, 2)
        .or_else(|| {
            [of_home, of_group]
                .into_iter()
                .flatten()
                .find(|uid| range(uid) && holder(*uid).is_none())
        })
        .or_else(|| free_number(editor, user.system))
        .ok_or_else(|| refused(&user.name, "no number is free for it"))
}

/// The number of the main group, which is made where it is one of the user's own name.
fn main_group(editor: &mut Editor, user: &User, machine: &Machine, uid: u32) -> Result<u32, Error> {
    if let Some(name) = &user.primary_group {
        return editor
            .number(Group, name, 2)
            .or_else(|| decimal(name))
            .ok_or_else(|| refused(&user.name, format!("there is no group `{name}`")));
    }
    if let Some(gid) = editor.number(Passwd, &user.name, 3) {
        return Ok(gid);
    }
    if user.no_user_group {
        return Ok(machine.common_group);
    }
    if let Some(gid) = editor.number(Group, &user.name, 2) {
        return Ok(gid);
    }
    let gid = if editor.name_of(Group, 2, uid).is_none() {
        uid
    } else {
        free_number(editor, user.system)
            .ok_or_else(|| refused(&user.name, "no number is free for its group"))?
    };
    put(editor, &user.name, gid, machine.has_gshadow)?;
    Ok(gid)
}

/// Sets the password; the other fields of an entry that is there stay.
fn set_password(editor: &mut Editor, name: &str, hash: &str, today: u64) -> Result<(), Error> {
    let today = today.to_string();
    let [least, most, warning] = AGING;
    let mut entry = editor
        .get(Shadow, name)
        .unwrap_or_else(|| fields([name, "", "", least, most, warning, "", "", ""]));
    for (number, value) in [(1, hash), (2, today.as_str())] {
        if let Some(field) = entry.get_mut(number) {
            value.clone_into(field);
        }
    }
    editor.put(Shadow, &entry).map_err(malformed(name))
}

fn add_subordinates(editor: &mut Editor, name: &str) -> Result<(), Error> {
    for file in [Subuid, Subgid] {
        if editor.get(file, name).is_some() {
            continue;
        }
        let start = editor.subordinate_end(file, SUBORDINATE_START);
        if start + SUBORDINATE_COUNT > u64::from(u32::MAX) {
            continue;
        }
        let entry = fields([name, &start.to_string(), &SUBORDINATE_COUNT.to_string()]);
        editor.put(file, &entry).map_err(malformed(name))?;
    }
    Ok(())
}

/// Takes a user out of all files; its home folder stays.
fn remove(editor: &mut Editor, user: &User) -> Result<(), Error> {
    for file in [Passwd, Shadow, Subuid, Subgid] {
        editor.remove(file, &user.name);
    }
    for group in editor.names(Group) {
        set_member(editor, &group, &user.name, false)?;
    }
    // The group of its own name goes with it, unless somebody else is in it.
    let is_lonely = editor.get(Group, &user.name).is_some_and(|entry| {
        entry.get(3).is_some_and(String::is_empty)
            && entry
                .get(2)
                .and_then(|gid| decimal(gid))
                .is_some_and(|gid| editor.name_of(Passwd, 3, gid).is_none())
    });
    if is_lonely {
        editor.remove(Group, &user.name);
        editor.remove(Gshadow, &user.name);
    }
    Ok(())
}

#[cfg(test)]
mod tests;

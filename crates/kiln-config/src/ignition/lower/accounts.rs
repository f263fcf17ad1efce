//! Groups, users and their keys.
//!
//! Accounts with a number come before those that take the next free one, or one of these might take it.
//! Groups that are to be absent go last: a group that is somebody's main one cannot go before them.

use super::{Lowering, Rank, is_false, is_true, number, text, values};
use crate::action::{self, Action, AuthorizedKeys, Password};
use crate::ignition::config::{Group, Passwd, User};
use crate::operation::Text;

/// Files below `.ssh` that get the keys: Ignition's own, and the one that every sshd reads. Images
/// differ in whether their sshd looks at the first.
const KEY_FILES: [&str; 2] = ["authorized_keys.d/ignition", "authorized_keys"];

pub(super) fn lower(passwd: &Passwd, lowering: &mut Lowering<'_>) {
    let mut groups: Vec<&Group> = passwd.groups.iter().collect();
    groups.sort_by_key(|group| (group.gid.is_none(), &group.name.value));
    for one in groups {
        let action = group(one);
        let rank = if action.absent { Rank::AbsentGroups } else { Rank::Groups };
        lowering.push(rank, one.span, Action::Group(action));
    }
    let mut users: Vec<&User> = passwd.users.iter().collect();
    users.sort_by_key(|user| (user.uid.is_none(), &user.name.value));
    for one in users {
        let action = user(one);
        let absent = action.absent;
        lowering.push(Rank::Users, one.span, Action::User(action));
        if absent || one.ssh_authorized_keys.is_empty() {
            continue;
        }
        for file in KEY_FILES {
            let keys = one.ssh_authorized_keys.iter();
            let action = Action::AuthorizedKeys(AuthorizedKeys {
                user: Text::from(one.name.value.clone()),
                keys: keys.map(|key| Text::from(key.value.trim().to_owned())).collect(),
                file: file.to_owned(),
            });
            lowering.push(Rank::Keys, one.span, action);
        }
    }
}

fn group(group: &Group) -> action::Group {
    action::Group {
        name: group.name.value.clone(),
        gid: number(group.gid.as_ref()),
        password_hash: text(group.password_hash.as_ref()),
        system: is_true(group.system.as_ref()),
        absent: is_false(group.should_exist.as_ref()),
    }
}

fn user(user: &User) -> action::User {
    action::User {
        name: user.name.value.clone(),
        password: text(user.password_hash.as_ref()).map(Password::Hash),
        uid: number(user.uid.as_ref()),
        gecos: text(user.gecos.as_ref()),
        home: text(user.home_dir.as_ref()),
        create_home: !is_true(user.no_create_home.as_ref()),
        primary_group: text(user.primary_group.as_ref()),
        groups: values(&user.groups),
        no_user_group: is_true(user.no_user_group.as_ref()),
        no_log_init: is_true(user.no_log_init.as_ref()),
        shell: text(user.shell.as_ref()),
        system: is_true(user.system.as_ref()),
        lock: false,
        keys: Vec::new(),
        absent: is_false(user.should_exist.as_ref()),
        keep_existing: false,
    }
}

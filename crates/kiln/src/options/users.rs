//! `--user`: logins that the image gets. Secrets come from files, never from the command line, which
//! every user of the machine can read.

use std::path::{Path, PathBuf};

use clap::Args;
use kiln_build::{User, format_size};

use crate::render::Failure;

/// Largest password or key file that is read, in bytes.
const SECRET_MAX: u64 = 1 << 20;

/// Logins to add.
#[derive(Debug, Args)]
#[command(next_help_heading = "Logins")]
pub(crate) struct UserArguments {
    /// A login to add; a following --password-file or --ssh-key belongs to it
    #[arg(long = "user", value_name = "NAME")]
    users: Vec<String>,
    /// A file with the password of the user, or its crypt hash; one for each --user, in order
    #[arg(long = "password-file", value_name = "FILE", requires = "users")]
    password_files: Vec<PathBuf>,
    /// A file with public SSH keys for every --user
    #[arg(long = "ssh-key", value_name = "FILE", requires = "users")]
    ssh_keys: Vec<PathBuf>,
}

impl UserArguments {
    /// Whether none was asked for.
    pub(crate) fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// The logins with their secrets read.
    pub(crate) fn users(&self) -> Result<Vec<User>, Failure> {
        let (files, users) = (self.password_files.len(), self.users.len());
        if files > users {
            return Err(Failure::new(
                format!("{files} password files for {users} users"),
                "give one --password-file for each --user, in the same order",
            ));
        }
        let mut ssh_keys = Vec::new();
        for path in &self.ssh_keys {
            let text = read_secret(path)?;
            let is_key = |line: &&str| !line.trim().is_empty() && !line.starts_with('#');
            let before = ssh_keys.len();
            ssh_keys.extend(text.lines().filter(is_key).map(str::to_owned));
            if ssh_keys.len() == before {
                return Err(Failure::new(
                    format!("{} holds no key", path.display()),
                    "give the public key, whose file ends in `.pub`",
                ));
            }
        }
        let mut users = Vec::new();
        for (index, name) in self.users.iter().enumerate() {
            let password = match self.password_files.get(index) {
                Some(path) => Some(password(path)?),
                None => None,
            };
            users.push(User { name: name.clone(), password, ssh_keys: ssh_keys.clone() });
        }
        Ok(users)
    }
}

/// The password in a file: its text without the end of the line, and never an empty one.
fn password(path: &Path) -> Result<String, Failure> {
    let text = read_secret(path)?;
    let password = text.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err(Failure::new(
            format!("{} holds no password", path.display()),
            "write the password into it, or give a key with --ssh-key",
        ));
    }
    Ok(password.to_owned())
}

fn read_secret(path: &Path) -> Result<String, Failure> {
    let said = format!("cannot read {}", path.display());
    let failure = |error| Failure::system(said.clone(), error);
    let length = std::fs::metadata(path).map_err(failure)?.len();
    if length > SECRET_MAX {
        return Err(Failure::new(
            format!("{said}: it has {}", format_size(length)),
            "give a file with a password or with keys, which is small",
        ));
    }
    std::fs::read_to_string(path).map_err(failure)
}

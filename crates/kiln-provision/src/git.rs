//! Git repositories, by the image's own `git`.
//!
//! A client of our own was dropped: it would be a second implementation of what every image that needs
//! this has anyway.

use kiln_config::action::{Git, GitAuth};

use crate::{Error, Owner, Surroundings};

/// Branch where none is named (`Git::branch`).
const BRANCH: &str = "master";
/// What git may speak; its `ext::` addresses would run commands.
const PROTOCOLS: &str = "https:http:ssh:git:file";
/// Where a private key and the server's key lie while git runs, in memory.
const KEY: &str = "/run/kiln/git-key";
const SERVER: &str = "/run/kiln/git-server";
/// The server's name beside its key, whatever its address is (ssh_config(5), HostKeyAlias).
const ALIAS: &str = "kiln-git";
/// Answers git's question for a login from the two variables.
const HELPER: &str = "credential.helper=!f() { test \"$1\" = get && \
    printf 'username=%s\\npassword=%s\\n' \"$KILN_GIT_USERNAME\" \"$KILN_GIT_PASSWORD\"; }; f";

impl Surroundings<'_> {
    pub(crate) fn git(&mut self, git: &Git) -> Result<(), Error> {
        crate::root::elements(&git.path)?;
        let branch = git.branch.as_deref().unwrap_or(BRANCH);
        if git.url.starts_with('-') || branch.starts_with('-') {
            let reason = "address and branch must not begin with `-`";
            return Err(Error::Path { path: git.path.clone(), reason });
        }
        let is_there = self.root.target(&format!("{}/.git", git.path))?.is_some();
        for (path, text) in kept_in_memory(&git.auth) {
            self.root.write(path, text.as_bytes(), 0o600, Owner::default())?;
        }
        let steps = steps(git, branch, is_there);
        let kept = self.environment.clone();
        self.environment.extend(variables(&git.auth));
        let done = steps.iter().try_for_each(|step| {
            let arguments: Vec<&str> = step.iter().map(String::as_str).collect();
            self.program("git", "git", &arguments)
        });
        self.environment = kept;
        for (path, _) in kept_in_memory(&git.auth) {
            self.root.remove(path)?;
        }
        done
    }
}

/// The files that ssh reads: the machine's key and the server's.
fn kept_in_memory(auth: &GitAuth) -> Vec<(&'static str, String)> {
    let own = auth.private_key.as_ref().map(|key| (KEY, format!("{}\n", key.trim_end())));
    let server = auth.public_key.as_ref();
    let server = server.map(|key| (SERVER, format!("{ALIAS} {}\n", key.trim())));
    own.into_iter().chain(server).collect()
}

/// Who the machine is, in variables and not in arguments, which every process could read.
fn variables(auth: &GitAuth) -> Vec<(String, String)> {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let mut all = vec![pair("GIT_ALLOW_PROTOCOL", PROTOCOLS), pair("GIT_TERMINAL_PROMPT", "0")];
    if let Some(password) = &auth.password {
        all.push(pair("KILN_GIT_USERNAME", auth.username.as_deref().unwrap_or("git")));
        all.push(pair("KILN_GIT_PASSWORD", password));
    }
    let mut ssh = String::from("ssh -o BatchMode=yes");
    if auth.private_key.is_some() {
        ssh.push_str(&format!(" -i {KEY} -o IdentitiesOnly=yes"));
    }
    ssh.push_str(&match (&auth.public_key, auth.insecure) {
        (Some(_), _) => format!(
            " -o UserKnownHostsFile={SERVER} -o HostKeyAlias={ALIAS} -o StrictHostKeyChecking=yes"
        ),
        (None, true) => " -o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=no".into(),
        (None, false) => " -o StrictHostKeyChecking=accept-new".into(),
    });
    all.push(pair("GIT_SSH_COMMAND", &ssh));
    if auth.insecure {
        all.push(pair("GIT_SSL_NO_VERIFY", "true"));
    }
    all
}

/// The calls: a clone, or for one that is there what makes it equal to the branch.
fn steps(git: &Git, branch: &str, is_there: bool) -> Vec<Vec<String>> {
    let words =
        |words: &[&str]| -> Vec<String> { words.iter().map(|word| (*word).to_owned()).collect() };
    let path = git.path.as_str();
    let login: &[&str] = if git.auth.password.is_some() { &["-c", HELPER] } else { &[] };
    if !is_there {
        let mut clone: Vec<String> = words(login);
        clone.extend(words(&["clone", "--quiet", "--branch", branch]));
        clone.extend(git.branch_only.then(|| "--single-branch".to_owned()));
        clone.extend(["--".to_owned(), git.url.clone(), path.to_owned()]);
        return vec![clone];
    }
    // Owners differ where the repository was cloned for a user.
    let safe = format!("safe.directory={path}");
    let fetch = ["-c", &safe, "-C", path, "fetch", "--quiet", "--", &git.url, branch];
    vec![
        words(&[login, &fetch[..]].concat()),
        words(&["-c", &safe, "-C", path, "reset", "--quiet", "--hard", "FETCH_HEAD"]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_in_variables_and_files_and_never_in_arguments() {
        let auth = GitAuth {
            username: Some("joe".into()),
            password: Some("hidden".into()),
            private_key: Some("KEYTEXT\n".into()),
            public_key: Some("ssh-ed25519 AAAA".into()),
            insecure: false,
        };
        let git = Git {
            url: "https://git.example/x".into(),
            path: "/srv/x".into(),
            auth,
            ..Git::default()
        };
        for is_there in [false, true] {
            let all = format!("{:?}", steps(&git, "main", is_there));
            assert!(!all.contains("hidden") && !all.contains("KEYTEXT"), "{all}");
        }
        let variables = variables(&git.auth);
        assert!(variables.contains(&("KILN_GIT_PASSWORD".into(), "hidden".into())));
        let ssh = &variables.iter().find(|(name, _)| name == "GIT_SSH_COMMAND").unwrap().1;
        assert!(ssh.contains(KEY) && ssh.contains("StrictHostKeyChecking=yes"), "{ssh}");
        let files = kept_in_memory(&git.auth);
        let files: Vec<_> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
        assert_eq!(files, [(KEY, "KEYTEXT\n"), (SERVER, "kiln-git ssh-ed25519 AAAA\n")]);
    }

    #[test]
    fn the_helper_answers_git() {
        let helper = HELPER.strip_prefix("credential.helper=!").unwrap();
        let output = std::process::Command::new("sh")
            .args(["-c", &format!("{helper} get")])
            .envs([("KILN_GIT_USERNAME", "joe"), ("KILN_GIT_PASSWORD", "a $b")])
            .output()
            .unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "username=joe\npassword=a $b\n");
    }
}

//! How a system was made of its image, kept in the system itself.
//!
//! A machine that upgrades from a plain container image builds the new root itself. It must do that
//! as the running one was built, or logins, drivers and kernel arguments would be gone with the
//! first upgrade. The recipe is part of Kiln's layer, so it falls back with the release, is proved
//! with the root, and is the same in every build with equal options. One that an image brings along
//! is overwritten: whoever builds decides.
//!
//! It holds password hashes, never passwords, and only root can read it. Sources on the builder's
//! disk have no place in it, because a machine could not open them: boot programs that came from there
//! are laid into the root ([`BOOT_FILES`]), and the recipe names that folder. Leaving them out was
//! dropped: the first upgrade from a plain image would have failed for want of a stub.

use kiln_erofs::Codec;
use kiln_registry::Source;
use serde::{Deserialize, Serialize};

use crate::password::hash_password;
use crate::{BuildOptions, Error, ModuleSet, User};

/// Where the recipe is in a root, without the leading slash.
pub const PATH: &str = "usr/lib/kiln/recipe.json";

/// Where a root carries stub and loader that came from the builder's disk, without the leading slash:
/// a folder with the paths of the image that they came from.
pub const BOOT_FILES: &str = "usr/lib/kiln/boot-files";

/// The value of `format` in every recipe that this crate writes.
pub const FORMAT: &str = "kiln.recipe.v1";

/// Largest recipe that is read, in bytes: some thousand keys.
pub const MAXIMUM_LENGTH: usize = 4 << 20;

/// The part of [`BuildOptions`] that later builds of the same machine need.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Always [`FORMAT`].
    pub format: String,
    /// The release's name, where not the image's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How file contents are compressed, as `--compress` spells it.
    pub codec: String,
    /// Kernel arguments behind Kiln's own.
    pub kernel_arguments: Vec<String>,
    /// Kernel arguments that a machine may switch on, as `--addon` spells them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addons: Vec<String>,
    /// The set of modules in the initramfs.
    pub modules: String,
    /// Modules besides.
    pub extra_modules: Vec<String>,
    /// The text of the layout that the first boot makes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout: Option<String>,
    /// The image that brings stub and loader, if it is in a registry; [`BOOT_FILES`] for any other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_files: Option<String>,
    /// Logins that were added.
    pub users: Vec<Login>,
}

/// A login of a recipe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// The login name.
    pub name: String,
    /// The hash of the password in crypt(5) form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_hash: Option<String>,
    /// Lines for `authorized_keys`.
    pub ssh_keys: Vec<String>,
}

impl Recipe {
    /// The recipe of a build.
    ///
    /// # Errors
    /// [`Error::User`] for a password that cannot be hashed.
    pub fn of(options: &BuildOptions) -> Result<Self, Error> {
        let login = |user: &User| {
            let hash = user.password.as_ref().map(|password| hash_password(&user.name, password));
            let password_hash = hash
                .transpose()
                .map_err(|reason| Error::User { name: user.name.clone(), reason })?;
            Ok(Login { name: user.name.clone(), password_hash, ssh_keys: user.ssh_keys.clone() })
        };
        let boot_files = |source: &Source| match source {
            Source::Registry(_) | Source::ShortName(_) => source.to_string(),
            _ => format!("dir:/{BOOT_FILES}"),
        };
        Ok(Self {
            format: FORMAT.to_owned(),
            name: options.name.clone(),
            codec: options.codec.to_string(),
            kernel_arguments: options.kernel_arguments.clone(),
            addons: options.addons.iter().map(ToString::to_string).collect(),
            modules: options.modules.to_string(),
            extra_modules: options.extra_modules.clone(),
            layout: options.layout.clone(),
            boot_files: options.boot_files.as_ref().map(boot_files),
            users: options.users.iter().map(login).collect::<Result<_, Error>>()?,
        })
    }

    /// Whether the root has to carry stub and loader.
    pub(crate) fn carries_boot_files(&self) -> bool {
        self.boot_files.as_deref().and_then(|text| text.strip_prefix("dir:/")) == Some(BOOT_FILES)
    }

    /// The canonical text: keys in the order of the fields, two spaces, one final line feed.
    ///
    /// # Errors
    /// [`Error::Recipe`] if a field cannot be written as JSON.
    pub fn to_json(&self) -> Result<String, Error> {
        let mut text = serde_json::to_string_pretty(self)
            .map_err(|source| Error::Recipe { reason: source.to_string() })?;
        text.push('\n');
        Ok(text)
    }

    /// Reads and checks a recipe.
    ///
    /// # Errors
    /// [`Error::Recipe`] for anything that this crate does not write.
    pub fn from_json(text: &[u8]) -> Result<Self, Error> {
        let refuse = |reason: String| Error::Recipe { reason };
        if text.len() > MAXIMUM_LENGTH {
            return Err(refuse("it is larger than 4 MiB".to_owned()));
        }
        let recipe: Self =
            serde_json::from_slice(text).map_err(|source| refuse(source.to_string()))?;
        if recipe.format != FORMAT {
            return Err(refuse(format!("unknown format `{}`", recipe.format)));
        }
        Ok(recipe)
    }

    /// Puts everything into the options of a new build.
    ///
    /// # Errors
    /// [`Error::Recipe`] for a codec, set or source that this version does not know.
    pub fn apply(&self, options: &mut BuildOptions) -> Result<(), Error> {
        let refuse = |what: &str, reason: String| Error::Recipe {
            reason: format!("{what} cannot be used: {reason}"),
        };
        let codec: Result<Codec, _> = self.codec.parse();
        options.codec = codec.map_err(|error| refuse("codec", error.to_string()))?;
        let modules: Result<ModuleSet, _> = self.modules.parse();
        options.modules = modules.map_err(|error| refuse("modules", error.to_string()))?;
        options.boot_files =
            match &self.boot_files {
                Some(text) => Some(text.parse().map_err(|error: kiln_registry::Error| {
                    refuse("boot_files", error.to_string())
                })?),
                None => None,
            };
        options.name.clone_from(&self.name);
        options.kernel_arguments.clone_from(&self.kernel_arguments);
        options.addons = self
            .addons
            .iter()
            .map(|text| text.parse().map_err(|error: Error| refuse("addons", error.to_string())))
            .collect::<Result<_, _>>()?;
        options.extra_modules.clone_from(&self.extra_modules);
        options.layout.clone_from(&self.layout);
        let user = |login: &Login| User {
            name: login.name.clone(),
            password: login.password_hash.clone(),
            ssh_keys: login.ssh_keys.clone(),
        };
        options.users = self.users.iter().map(user).collect();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Recipe;
    use crate::{BuildOptions, Formats, Input, ModuleSet, ReadOptions, User};

    fn options() -> BuildOptions {
        BuildOptions {
            input: Input::Source("dir:/nowhere".parse().unwrap()),
            reading: ReadOptions::default(),
            output: "out".into(),
            formats: Formats::default(),
            check: false,
            mode: crate::Mode::System,
            name: None,
            version: Some("7".into()),
            sequence: None,
            codec: "zstd:9".parse().unwrap(),
            kernel_arguments: vec!["quiet".into()],
            addons: Vec::new(),
            slot_size: None,
            esp_size: None,
            sector_size: 512,
            modules: ModuleSet::Virtio,
            extra_modules: vec!["hpsa".into()],
            layout: None,
            boot_files: Some("docker://registry.example/boot:1".parse().unwrap()),
            runtime: None,
            users: vec![User {
                name: "kiln".into(),
                password: Some("secret".into()),
                ssh_keys: vec!["ssh-ed25519 AAAA".into()],
            }],
            threads: 1,
        }
    }

    const GOLDEN: &str = r#"{
  "format": "kiln.recipe.v1",
  "codec": "zstd:9",
  "kernel_arguments": [
    "quiet"
  ],
  "modules": "virtio",
  "extra_modules": [
    "hpsa"
  ],
  "boot_files": "docker://registry.example/boot:1",
  "users": [
    {
      "name": "kiln",
      "password_hash": "HASH",
      "ssh_keys": [
        "ssh-ed25519 AAAA"
      ]
    }
  ]
}
"#;

    #[test]
    fn the_text_is_frozen_and_holds_no_password() {
        let text = Recipe::of(&options()).unwrap().to_json().unwrap();
        let hash = crate::password::hash_password("kiln", "secret").unwrap();
        assert_eq!(text, GOLDEN.replace("HASH", &hash));
        assert!(!text.contains("secret"), "{text}");
    }

    #[test]
    fn a_recipe_makes_the_same_recipe_again() {
        let recipe = Recipe::of(&options()).unwrap();
        let read = Recipe::from_json(recipe.to_json().unwrap().as_bytes()).unwrap();
        let mut again = options();
        again.users.clear();
        again.kernel_arguments.clear();
        again.addons.push("a=b".parse().unwrap());
        again.codec = "none".parse().unwrap();
        read.apply(&mut again).unwrap();
        assert_eq!(Recipe::of(&again).unwrap(), recipe);

        let addons =
            BuildOptions { addons: vec!["serial=console=ttyS1".parse().unwrap()], ..options() };
        Recipe::of(&addons).unwrap().apply(&mut again).unwrap();
        assert_eq!(again.addons, addons.addons);

        let cut =
            BuildOptions { layout: Some("format = \"kiln.layout.v1\"\n".into()), ..options() };
        Recipe::of(&cut).unwrap().apply(&mut again).unwrap();
        assert_eq!(again.layout, cut.layout, "an upgrade would lose it");
    }

    #[test]
    fn boot_files_of_the_builders_disk_are_those_in_the_root() {
        for (source, expected) in [
            ("oci:/home/me/boot", "dir:/usr/lib/kiln/boot-files"),
            ("docker-archive:boot.tar", "dir:/usr/lib/kiln/boot-files"),
            ("dir:/usr/lib/kiln/boot-files", "dir:/usr/lib/kiln/boot-files"),
            ("docker://registry.example/boot:1", "docker://registry.example/boot:1"),
        ] {
            let boot_files = Some(source.parse().unwrap());
            let recipe = Recipe::of(&BuildOptions { boot_files, ..options() }).unwrap();
            assert_eq!(recipe.boot_files.as_deref(), Some(expected), "{source}");
            assert_eq!(recipe.carries_boot_files(), expected.starts_with("dir:"), "{source}");
            let mut again = options();
            recipe.apply(&mut again).unwrap();
            assert_eq!(Recipe::of(&again).unwrap(), recipe, "the next upgrade has them, too");
        }
        let none = Recipe::of(&BuildOptions { boot_files: None, ..options() }).unwrap();
        assert!(none.boot_files.is_none() && !none.carries_boot_files());
    }

    #[test]
    fn foreign_recipes_are_refused() {
        let good = Recipe::of(&options()).unwrap().to_json().unwrap();
        for (old, new, expected) in [
            ("recipe.v1", "recipe.v2", "unknown format"),
            ("\"codec\"", "\"coder\"", "coder"),
            ("\"quiet\"", "7", "expected a string"),
        ] {
            let text = good.replace(old, new);
            let error = Recipe::from_json(text.as_bytes()).unwrap_err();
            assert!(error.to_string().contains(expected), "{expected}: {error}");
            assert!(error.hint().is_some());
        }
        for (old, new) in [("zstd:9", "zip"), ("virtio", "none"), ("docker://registry", "x:")] {
            let recipe = Recipe::from_json(good.replace(old, new).as_bytes()).unwrap();
            assert!(recipe.apply(&mut options()).is_err(), "{new}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>, at in 0_usize..400) {
            let _ = Recipe::from_json(&bytes);
            let mut text = Recipe::of(&options()).unwrap().to_json().unwrap().into_bytes();
            let end = (at + bytes.len()).min(text.len());
            text.splice(at.min(end)..end, bytes);
            let _ = Recipe::from_json(&text);
        }
    }
}

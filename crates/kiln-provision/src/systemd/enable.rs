//! Enabling and disabling by links.

use std::collections::BTreeSet;

use super::install::{Install, Name, links};
use super::{FOLDERS, NOTHING, OWN, parse, refused};
use crate::conditions::SETTINGS_BYTES;
use crate::{Error, Kind, Owner, Surroundings};

/// Units that one may enable with itself (`Also=`), in all.
const ALSO_MAXIMUM: usize = 64;

impl Surroundings<'_> {
    /// Makes the links of a unit and of those that are enabled with it. A unit without `[Install]` is
    /// started by others and has none.
    pub(super) fn enable(&mut self, name: &Name) -> Result<(), Error> {
        let mut left = vec![name.clone()];
        let mut seen: BTreeSet<String> = BTreeSet::new();
        while let Some(name) = left.pop() {
            if !seen.insert(name.whole.clone()) || seen.len() > ALSO_MAXIMUM {
                continue;
            }
            let (name, path, install) = self.installation(&name)?;
            if install.is_empty() {
                let text =
                    format!("unit `{}` has no section [Install]; nothing to enable", name.whole);
                (self.say)(&text);
            }
            for link in links(&name, &install).map_err(|reason| refused(&name.whole, reason))? {
                self.root.symlink(&format!("{OWN}/{link}"), &path, Owner::default())?;
            }
            for other in &install.also {
                let other = name.fill(other).ok_or_else(|| refused(&name.whole, "bad Also="))?;
                left.push(parse(&other)?);
            }
        }
        Ok(())
    }

    /// The unit that is enabled (of a template its default instance), its file, and its section.
    fn installation(&self, name: &Name) -> Result<(Name, String, Install), Error> {
        let own = self.fragment(&name.whole)?;
        let (path, text) = match (own, name.template()) {
            (Some(found), _) => found,
            (None, Some(template)) => self.fragment(&template)?.ok_or_else(|| {
                refused(&name.whole, format!("there is no template `{template}`"))
            })?,
            (None, None) => return Err(refused(&name.whole, "there is no such unit")),
        };
        let mut install = Install::default();
        install.read(&text);
        for drop_in in self.drop_ins(name)? {
            install.read(&drop_in);
        }
        if !name.is_template() {
            return Ok((name.clone(), path, install));
        }
        let instance = install.default_instance.clone();
        let name =
            instance.and_then(|instance| name.with_instance(&instance)).ok_or_else(|| {
                refused(&name.whole, "it is a template without an instance that is the default")
            })?;
        Ok((name, path, install))
    }

    /// The texts of a unit's drop-ins by file name; those in `/etc` hide others of the same name.
    fn drop_ins(&self, name: &Name) -> Result<Vec<String>, Error> {
        let mut paths = std::collections::BTreeMap::new();
        let units = [Some(name.whole.clone()), name.template()];
        for folder in FOLDERS.iter().rev() {
            for unit in units.iter().flatten() {
                let folder = format!("{folder}/{unit}.d");
                for file in self.root.list(&folder)? {
                    if file.ends_with(".conf") {
                        paths.insert(file.clone(), format!("{folder}/{file}"));
                    }
                }
            }
        }
        let mut texts = Vec::new();
        for path in paths.values() {
            if self.root.target(path)?.is_some_and(|status| status.kind == Kind::File) {
                texts.extend(self.root.text(path, SETTINGS_BYTES)?);
            }
        }
        Ok(texts)
    }

    /// Removes all links in `/etc` by which a unit is enabled: those with its name in folders of links,
    /// and aliases that lead to its file. A unit that is not there has none.
    pub(super) fn disable(&mut self, name: &Name) -> Result<(), Error> {
        let mut gone = Vec::new();
        for entry in self.root.list(OWN)? {
            let path = format!("{OWN}/{entry}");
            let is_folder_of_links =
                [".wants", ".requires", ".upholds"].iter().any(|ending| entry.ends_with(ending));
            if is_folder_of_links {
                for link in self.root.list(&path)? {
                    let is_it = link == name.whole
                        || name.is_template()
                            && Name::parse(&link).and_then(|link| link.template()).as_ref()
                                == Some(&name.whole);
                    if is_it {
                        gone.push(format!("{path}/{link}"));
                    }
                }
            } else if entry != name.whole
                && let Some(target) = self.root.link_target(&path)?
                && target != NOTHING
                && target.rsplit('/').next() == Some(&name.whole)
            {
                gone.push(path);
            }
        }
        for path in gone {
            self.root.remove(&path)?;
        }
        Ok(())
    }
}

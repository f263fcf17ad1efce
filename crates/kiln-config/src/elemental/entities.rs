//! Lines of account files, in yip's own words: `ensure_entities` and `delete_entities`.
//!
//! An entity is YAML inside a string, so its faults are shown at the string. One with holes is read on
//! the machine only; every other is checked here, for its kind, its keys and its name.

use super::password::is_account_name;
use super::scope::{Scope, required_path, template};
use super::step::{Actions, Rank, add};
use crate::action::{Action, Entity};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::fields::{Fields, Spanned};
use crate::operation::Text;
use crate::suggest::nearest;
use crate::yaml;

/// Kinds, the key that names the account, and all other keys.
const KINDS: [(&str, &str, &[&str]); 4] = [
    ("user", "username", &["password", "uid", "gid", "info", "homedir", "shell"]),
    (
        "shadow",
        "username",
        &[
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
    ("group", "group_name", &["password", "gid", "users"]),
    ("gshadow", "name", &["password", "administrators", "members"]),
];

/// Both keys; `name` says which.
pub(super) fn read(
    fields: &mut Fields<'_, '_>,
    name: &'static str,
    scope: &Scope,
    actions: &mut Actions,
) {
    let delete = name == "delete_entities";
    for node in fields.list(name) {
        let Some(mut entry) = Fields::open(node, "an entity", fields.out()) else { continue };
        let path = entry.take("path").is_some().then(|| required_path(&mut entry, "path"));
        let entity = entry.require_text("entity");
        let span = entry.span();
        scope.finish(entry);
        let (Some(entity), None | Some(Some(_))) = (entity, &path) else { continue };
        let path = path.flatten().map(Text::Plain);
        let Some(entity) = checked(entity, fields.out()) else { continue };
        let rank = if delete { Rank::DeleteEntities } else { Rank::EnsureEntities };
        add(actions, rank, span, Action::Entity(Entity { path, entity, delete }));
    }
}

fn checked(entity: Spanned<String>, out: &mut Diagnostics) -> Option<Text> {
    if !entity.value.contains("{{") {
        let span = entity.span;
        let node = match yaml::document(span.source, &entity.value) {
            Ok(node) => node,
            Err(fault) => {
                let message = format!("the entity is {}", fault.message);
                out.push(Diagnostic::error("bad-entity", span, message));
                return None;
            }
        };
        let kind = node.get("kind").and_then(crate::Node::text).unwrap_or_default();
        let Some((_, name, others)) = KINDS.iter().find(|(known, _, _)| *known == kind) else {
            let shown: String = kind.chars().take(40).collect();
            let diagnostic =
                Diagnostic::error("bad-entity", span, format!("no entity is of kind `{shown}`"));
            out.push(match nearest(kind, KINDS.iter().map(|row| row.0)) {
                Some(known) => diagnostic.hint(format!("did you mean `{known}`?")),
                None => diagnostic.hint("it is `user`, `shadow`, `group` or `gshadow`"),
            });
            return None;
        };
        if !node.get(name).and_then(crate::Node::text).is_some_and(is_account_name) {
            let message = format!("an entity of kind `{kind}` needs a name in `{name}`");
            out.push(Diagnostic::error("bad-entity", span, message));
            return None;
        }
        for (key, _) in node.map().unwrap_or_default() {
            let known =
                key.text == "kind" || key.text == *name || others.contains(&key.text.as_str());
            if !known {
                let message =
                    format!("an entity of kind `{kind}` has no key `{}`, it is ignored", key.text);
                let diagnostic = Diagnostic::warning("unknown-key", span, message);
                out.push(match nearest(&key.text, others.iter().copied()) {
                    Some(known) => diagnostic.hint(format!("did you mean `{known}`?")),
                    None => diagnostic,
                });
            }
        }
    }
    Some(template(entity, out))
}

//! A map of Butane becomes a map of Ignition, by the table.
//!
//! Values keep their places, so what Ignition's reader and validator say later points into the
//! YAML. Kinds are not checked here, since they are there.

use super::schema::{Key, Schema, Shape, Sugar};
use super::{Files, sugar};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::fields::Fields;
use crate::ignition::Version;
use crate::ignition::translate::tree::{Map, members, quoted};
use crate::node::{Node, Value};

/// What holds for a whole document.
#[derive(Clone, Copy)]
pub(super) struct Context<'run> {
    pub(super) version: Version,
    pub(super) files: Option<&'run dyn Files>,
}

/// The map of a node; nothing, and an error, where it is no map.
pub(super) fn convert(
    node: &Node,
    schema: &'static Schema,
    context: Context<'_>,
    out: &mut Diagnostics,
) -> Option<Node> {
    let mut fields = Fields::open(node, schema.what, out)?;
    let mut map = Map::new(node.span);
    for key in schema.keys {
        let value = value(&mut fields, key, context);
        map.put_some(key.ignition, value);
    }
    match schema.sugar {
        Sugar::None => {}
        Sugar::Resource => sugar::resource(&mut fields, &mut map, context),
        Sugar::Contents => sugar::contents(&mut fields, &mut map, context),
        Sugar::User => sugar::user(&mut fields, &mut map, context),
        // These make entries elsewhere, so the document's root reads them.
        Sugar::Filesystem => {
            fields.boolean("with_mount_unit");
        }
        Sugar::Storage => {
            fields.entry("trees");
        }
    }
    fields.finish();
    Some(map.node())
}

fn value(fields: &mut Fields<'_, '_>, key: &Key, context: Context<'_>) -> Option<Node> {
    if context.version < key.since {
        if let Some((written, _)) = fields.entry(key.butane) {
            let message = format!(
                "`{}` needs Ignition {}, and this version of the config stands for {}; it is ignored",
                key.butane,
                key.since.name(),
                context.version.name()
            );
            let span = written.span;
            fields.out().push(
                Diagnostic::warning("unknown-key", span, message)
                    .hint("write a later `version` of the config"),
            );
        }
        return None;
    }
    match key.shape {
        Shape::Text => fields.take(key.butane).map(quoted),
        Shape::Bare => {
            let node = fields.take(key.butane)?;
            if key.butane == "mode" {
                decimal_mode(node, fields.out());
            }
            Some(node.clone())
        }
        Shape::Texts => members(fields, key.butane, |node, _| Some(quoted(node))),
        Shape::Map(schema) => {
            let node = fields.take(key.butane)?;
            convert(node, schema, context, fields.out())
        }
        Shape::Maps(schema) => members(fields, key.butane, |node, out| {
            if node.is_null() {
                return Some(Node { span: node.span, value: Value::Null });
            }
            convert(node, schema, context, out)
        }),
    }
}

/// Warns where a mode was surely meant in octal: `644` is `01204`, which nobody writes on purpose.
fn decimal_mode(node: &Node, out: &mut Diagnostics) {
    let Value::Scalar { text, quoted: false } = &node.value else { return };
    if text.starts_with('0') {
        return;
    }
    let (Ok(decimal), Ok(octal)) = (text.parse::<u32>(), u32::from_str_radix(text, 8)) else {
        return;
    };
    if is_usual(octal) && !is_usual(decimal) {
        let message = format!("mode `{text}` is decimal and means {decimal:#06o}");
        out.push(
            Diagnostic::warning("decimal-mode", node.span, message.replace("0o", "0"))
                .hint(format!("write `0{text}`")),
        );
    }
}

/// Whether a mode gives its owner at least what it gives the group, and the group what it gives
/// others.
fn is_usual(mode: u32) -> bool {
    let (user, group, others) = (mode >> 6, mode >> 3 & 7, mode & 7);
    mode <= 0o777 && user & 4 != 0 && group & !user == 0 && others & !group == 0
}

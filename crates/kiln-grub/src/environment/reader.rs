//! Reader of the environment block. Total: any input gives variables or an error.
//!
//! It takes what GRUB takes, as GRUB takes it, with one exception: a block that GRUB can read but
//! could not write is refused, because there nothing can be counted.

use super::format::{ASSIGN, ESCAPE, FILLER, LONGEST, SIGNATURE};
use super::{Damaged, Environment, Variable};

/// Reads a block.
pub(super) fn parse(block: &[u8]) -> Result<Environment, Damaged> {
    if block.len() > LONGEST {
        return Err(Damaged { reason: "it is longer than any environment block" });
    }
    let rest = block.strip_prefix(SIGNATURE).ok_or(Damaged { reason: "it has no signature" })?;
    if rest.is_empty() {
        return Err(Damaged { reason: "it ends behind its signature" });
    }
    // GRUB looks for free space from the end, and expects it to begin a line.
    let used = block.iter().rposition(|byte| *byte != FILLER).and_then(|last| block.get(last));
    if used != Some(&b'\n') {
        return Err(Damaged { reason: "its last line has no end" });
    }
    let mut variables = Vec::new();
    let mut rest = rest;
    while let Some(first) = rest.first() {
        if *first != FILLER {
            let Some((variable, behind)) = variable(rest) else { break };
            variables.push(variable);
            rest = behind;
        }
        // Behind the line, or behind everything if it is the last.
        let end = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |end| end + 1);
        rest = rest.get(end..).unwrap_or_default();
    }
    Ok(Environment { variables, length: block.len() })
}

/// One variable, and what follows its value; the end of its line comes first there.
fn variable(text: &[u8]) -> Option<(Variable, &[u8])> {
    let equals = text.iter().position(|byte| *byte == ASSIGN)?;
    let (name, value) = (text.get(..equals)?, text.get(equals + 1..)?);
    let mut plain = Vec::new();
    let mut bytes = value.iter().enumerate();
    loop {
        match bytes.next()? {
            (end, b'\n') => {
                return Some((Variable { name: name.to_vec(), value: plain }, value.get(end..)?));
            }
            (_, &ESCAPE) => plain.push(*bytes.next()?.1),
            (_, byte) => plain.push(*byte),
        }
    }
}

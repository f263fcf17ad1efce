//! Writer of the environment block: variables in their order, then filler.

use super::format::{ASSIGN, ESCAPE, FILLER, SIGNATURE, WARNING};
use super::{Environment, Full};

/// The block, in the length that it had.
pub(super) fn render(environment: &Environment) -> Result<Vec<u8>, Full> {
    let mut block = [SIGNATURE, WARNING].concat();
    for variable in &environment.variables {
        block.extend(&variable.name);
        block.push(ASSIGN);
        for &byte in &variable.value {
            if byte == ESCAPE || byte == b'\n' {
                block.push(ESCAPE);
            }
            block.push(byte);
        }
        block.push(b'\n');
    }
    if block.len() > environment.length {
        return Err(Full { needed: block.len(), available: environment.length });
    }
    block.resize(environment.length, FILLER);
    Ok(block)
}

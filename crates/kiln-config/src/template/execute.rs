//! A template carried out with the values of a machine.
//!
//! Values come from the machine and texts from anywhere, so each evaluation is charged against a
//! budget and each value bounded in size: a template of ten lines must not keep a first boot from
//! ending. Values are copied, not shared; with the budget, that is simple and cannot grow without
//! bound.

use super::error::{Error, line};
use super::functions::Function;
use super::parse::{Base, Choice, Command, List, Loop, Operand, Part, Pipeline};
use super::print;
use super::value::Value;

/// Bytes that a template may put out; the bound of a whole configuration document.
pub const MAXIMUM_OUTPUT: usize = crate::source::MAXIMUM_BYTES;
/// Evaluations, rounds of `range` included; a second of work.
pub const MAXIMUM_STEPS: usize = 1_000_000;
/// Bytes of one value; larger ones come out of runaway computations only.
pub const MAXIMUM_VALUE: usize = 4 << 20;
/// Bytes of values that all evaluations together may copy.
const MAXIMUM_COPIED: usize = 64 << 20;

/// How a list of parts ended.
#[derive(PartialEq, Clone, Copy)]
enum Flow {
    On,
    Break,
    Continue,
}

/// Carries a template out.
pub(super) fn execute(text: &str, list: &List, root: &Value) -> Result<String, Error> {
    let mut run =
        Run { text, root, variables: Vec::new(), output: String::new(), steps: 0, copied: 0 };
    run.list(list, root)?;
    Ok(run.output)
}

struct Run<'run> {
    text: &'run str,
    root: &'run Value,
    variables: Vec<(&'run str, Value)>,
    output: String,
    steps: usize,
    copied: usize,
}

impl<'run> Run<'run> {
    fn value_fault(&self, offset: usize, message: impl Into<String>) -> Error {
        Error::Value { line: line(self.text, offset), message: message.into() }
    }

    fn limit(&self, offset: usize, message: String) -> Error {
        Error::Limit { line: line(self.text, offset), message }
    }

    fn step(&mut self, offset: usize) -> Result<(), Error> {
        self.steps += 1;
        if self.steps > MAXIMUM_STEPS {
            return Err(self.limit(offset, format!("more than {MAXIMUM_STEPS} steps")));
        }
        Ok(())
    }

    /// Charges a value that was made or copied.
    fn charge(&mut self, offset: usize, value: &Value) -> Result<(), Error> {
        let Some(weight) = value.weight(0, MAXIMUM_VALUE) else {
            return Err(self.limit(offset, "a value is nested too deep".to_owned()));
        };
        if weight > MAXIMUM_VALUE {
            return Err(self.limit(offset, format!("a value is larger than {MAXIMUM_VALUE} bytes")));
        }
        self.copied += weight;
        if self.copied > MAXIMUM_COPIED {
            return Err(self.limit(offset, format!("more than {MAXIMUM_COPIED} bytes of values")));
        }
        Ok(())
    }

    fn put(&mut self, offset: usize, text: &str) -> Result<(), Error> {
        if self.output.len().saturating_add(text.len()) > MAXIMUM_OUTPUT {
            return Err(self.limit(offset, format!("more than {MAXIMUM_OUTPUT} bytes of output")));
        }
        self.output.push_str(text);
        Ok(())
    }

    fn list(&mut self, list: &'run List, dot: &Value) -> Result<Flow, Error> {
        for part in list {
            let flow = match part {
                Part::Text(text) => {
                    self.put(0, text)?;
                    Flow::On
                }
                Part::Action(pipeline) => {
                    let value = self.pipeline(pipeline, dot)?;
                    if pipeline.variables.is_empty() {
                        self.put(pipeline.offset, &print::action(&value))?;
                    } else {
                        self.bind(pipeline, value);
                    }
                    Flow::On
                }
                Part::Choice(choice) => self.choice(choice, dot)?,
                Part::Loop(each) => self.range(each, dot)?,
                Part::Break => Flow::Break,
                Part::Continue => Flow::Continue,
            };
            if flow != Flow::On {
                return Ok(flow);
            }
        }
        Ok(Flow::On)
    }

    /// Gives the one variable of a pipeline its value.
    fn bind(&mut self, pipeline: &'run Pipeline, value: Value) {
        if let Some(name) = pipeline.variables.first() {
            self.set(name, pipeline.declares, value);
        }
    }

    fn set(&mut self, name: &'run str, declares: bool, value: Value) {
        if !declares
            && let Some((_, old)) = self.variables.iter_mut().rev().find(|(each, _)| *each == name)
        {
            *old = value;
        } else {
            self.variables.push((name, value));
        }
    }

    fn choice(&mut self, choice: &'run Choice, dot: &Value) -> Result<Flow, Error> {
        let scope = self.variables.len();
        let mut flow = None;
        for (pipeline, with, list) in &choice.branches {
            let value = self.pipeline(pipeline, dot)?;
            let truth = value.truth();
            if !pipeline.variables.is_empty() {
                self.charge(pipeline.offset, &value)?;
                self.bind(pipeline, value.clone());
            }
            if truth {
                flow = Some(self.list(list, if *with { &value } else { dot })?);
                break;
            }
        }
        let flow = match flow {
            Some(flow) => flow,
            None => self.list(&choice.otherwise, dot)?,
        };
        self.variables.truncate(scope);
        Ok(flow)
    }

    fn range(&mut self, each: &'run Loop, dot: &Value) -> Result<Flow, Error> {
        let scope = self.variables.len();
        let offset = each.pipeline.offset;
        let entries: Box<dyn Iterator<Item = (Value, Value)>> =
            match self.pipeline(&each.pipeline, dot)? {
                Value::Null => Box::new(std::iter::empty()),
                Value::List(list) => Box::new((0_i64..).map(Value::Integer).zip(list)),
                Value::Map(map) => {
                    Box::new(map.into_iter().map(|(key, value)| (Value::Text(key), value)))
                }
                Value::Integer(count) => {
                    Box::new((0..count).map(|index| (Value::Integer(index), Value::Integer(index))))
                }
                other => {
                    let message =
                        format!("`range` walks over lists and maps, not over {}", other.kind());
                    return Err(self.value_fault(offset, message));
                }
            };
        let mut none = true;
        let mut flow = Flow::On;
        for (index, value) in entries {
            none = false;
            self.step(offset)?;
            let inside = self.variables.len();
            match each.pipeline.variables.as_slice() {
                [] => {}
                [name] => {
                    self.charge(offset, &value)?;
                    self.set(name, each.pipeline.declares, value.clone());
                }
                [first, second, ..] => {
                    self.charge(offset, &value)?;
                    self.set(first, each.pipeline.declares, index);
                    self.set(second, each.pipeline.declares, value.clone());
                }
            }
            let end = self.list(&each.body, &value)?;
            self.variables.truncate(inside);
            if end == Flow::Break {
                break;
            }
        }
        if none {
            flow = self.list(&each.otherwise, dot)?;
        }
        self.variables.truncate(scope);
        Ok(flow)
    }

    fn pipeline(&mut self, pipeline: &'run Pipeline, dot: &Value) -> Result<Value, Error> {
        let mut last = None;
        for command in &pipeline.commands {
            last = Some(match command {
                Command::Value(operand) => self.operand(operand, dot)?,
                Command::Call(offset, function, operands) => {
                    self.call(*offset, function, operands, last, dot)?
                }
            });
        }
        Ok(last.unwrap_or_default())
    }

    fn call(
        &mut self,
        offset: usize,
        function: &Function,
        operands: &'run [Operand],
        piped: Option<Value>,
        dot: &Value,
    ) -> Result<Value, Error> {
        self.step(offset)?;
        let mut arguments = Vec::with_capacity(operands.len() + 1);
        for operand in operands {
            let value = self.operand(operand, dot)?;
            // What decides `and` or `or` is their value, and nothing behind it is looked at.
            if function.decides.is_some_and(|decides| value.truth() == decides) {
                return Ok(value);
            }
            arguments.push(value);
        }
        arguments.extend(piped);
        let value = function.call(&arguments).map_err(|message| {
            self.value_fault(offset, format!("`{}` {message}", function.name))
        })?;
        self.charge(offset, &value)?;
        Ok(value)
    }

    fn operand(&mut self, operand: &'run Operand, dot: &Value) -> Result<Value, Error> {
        self.step(operand.offset)?;
        let offset = operand.offset;
        let value = match &operand.base {
            Base::Literal(value) => value.clone(),
            Base::Nil => Value::Null,
            Base::Call(function) => self.call(offset, function, &[], None, dot)?,
            Base::Pipeline(inner) => {
                let value = self.pipeline(inner, dot)?;
                self.look_up(operand, &value)?
            }
            Base::Dot => self.look_up(operand, dot)?,
            Base::Variable(name) if name.is_empty() => {
                let root = self.root;
                self.look_up(operand, root)?
            }
            Base::Variable(name) => {
                let found = self.variables.iter().rev().find(|(each, _)| *each == name.as_str());
                match found {
                    Some((_, value)) => self.look_up(operand, value)?,
                    None => Value::Null,
                }
            }
        };
        self.charge(offset, &value)?;
        Ok(value)
    }

    /// The value at the end of a path. A key that is absent gives nothing; a key of nothing is a
    /// fault, as in Go, because what was meant then is not to be guessed.
    fn look_up(&self, operand: &Operand, base: &Value) -> Result<Value, Error> {
        const NOTHING: Value = Value::Null;
        let mut value = base;
        let mut walked = String::new();
        for name in &operand.path {
            value = match value {
                Value::Map(map) => map.get(name).unwrap_or(&NOTHING),
                Value::Null => {
                    let message = format!("`{walked}` has no value, so it has no `.{name}`");
                    return Err(self.value_fault(operand.offset, message));
                }
                other => {
                    let message = format!("`{walked}` is {} and has no `.{name}`", other.kind());
                    return Err(self.value_fault(operand.offset, message));
                }
            };
            walked.push('.');
            walked.push_str(name);
        }
        // Nothing is copied that `charge` would refuse.
        match value.weight(0, MAXIMUM_VALUE) {
            Some(weight) if weight <= MAXIMUM_VALUE => Ok(value.clone()),
            _ => Err(self.limit(operand.offset, "a value is too large".to_owned())),
        }
    }
}

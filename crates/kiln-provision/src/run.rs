//! The operations of one stage, one after the other.
//!
//! Two rules are here and nowhere else. A fault in a document that goes on is written down and the next
//! operation runs. A document that is all or nothing runs once, under a journal: at its first fault all
//! its files are as before, nothing behind it runs, and the next boot tries again.

use std::time::Instant;

use kiln_config::operation::Failure;
use kiln_config::{Action, Operation, Plan, Sources, Stage};
use sha2::{Digest, Sha256};

use crate::contents::hexadecimal;
use crate::summary::summary;
use crate::{Error, Outcome, Record, Report, Surroundings};

/// What a document of a stage asks for, as a hash: equal wishes have equal hashes, wherever they were
/// written down.
#[must_use]
pub fn document_hash(operations: &[&Operation]) -> String {
    let mut hasher = Sha256::new();
    for operation in operations {
        let wish = (&operation.stage, &operation.conditions, &operation.action);
        // Plans hold no maps with keys that are no text, so they always have a form in JSON.
        hasher.update(serde_json::to_vec(&wish).unwrap_or_default());
        hasher.update(b"\n");
    }
    hexadecimal(&hasher.finalize())
}

/// Carries out the operations of a stage. `sources` tells where they were written.
///
/// What fails is in the report. Where marks are kept, what an earlier attempt left unfinished is undone
/// first, and the report is written beside the marks.
pub fn run(
    plan: &Plan,
    stage: &Stage,
    sources: &Sources,
    surroundings: &mut Surroundings<'_>,
) -> Report {
    let mut report = Report { stage: stage.clone(), records: Vec::new(), aborted: None };
    if let Err(error) = recover(surroundings) {
        report.aborted = Some(format!("an earlier attempt cannot be undone: {}", error.sentence()));
        return report;
    }
    let mut sorted = plan.clone();
    sorted.sort();
    let operations: Vec<&Operation> = sorted.stage(stage).collect();
    for document in operations.chunk_by(|one, other| one.document == other.document) {
        let is_whole = document.iter().any(|operation| operation.failure == Failure::Abort);
        let mut executor = Executor { sources, surroundings, report: &mut report };
        if is_whole {
            executor.all_or_nothing(document);
        } else {
            for operation in document {
                let _ = executor.one(operation);
            }
        }
        if report.aborted.is_some() {
            break;
        }
    }
    if let Some(reason) = &report.aborted {
        (surroundings.say)(reason);
    }
    if let Some(ledger) = &surroundings.ledger
        && let Err(error) = ledger.keep(&report)
    {
        (surroundings.say)(&format!("the report is not kept: {}", error.sentence()));
    }
    report
}

/// Undoes what an attempt left that was cut off.
pub(crate) fn recover(surroundings: &mut Surroundings<'_>) -> Result<(), Error> {
    let Some(ledger) = &surroundings.ledger else { return Ok(()) };
    if !ledger.is_cut_off()? {
        return Ok(());
    }
    let mounted = surroundings.storage.before_undo();
    let undone = mounted.and_then(|()| ledger.recover(&mut surroundings.root));
    surroundings.storage.after_undo();
    for hash in undone? {
        let short = hash.get(..12).unwrap_or(&hash);
        (surroundings.say)(&format!("undid an unfinished attempt of configuration {short}"));
    }
    Ok(())
}

struct Executor<'a, 'b> {
    sources: &'a Sources,
    surroundings: &'a mut Surroundings<'b>,
    report: &'a mut Report,
}

impl Executor<'_, '_> {
    fn all_or_nothing(&mut self, document: &[&Operation]) {
        let hash = document_hash(document);
        let Some(ledger) = self.surroundings.ledger.clone() else {
            self.report.aborted =
                Some("a document that is all or nothing needs a folder for its marks".into());
            return;
        };
        if ledger.is_done(&hash) {
            for operation in document {
                let reason = "this machine has carried the document out already".to_owned();
                self.record(operation, Outcome::Skipped { reason }, Instant::now());
            }
            return;
        }
        let first = self.report.records.len();
        if let Err(error) = self.attempt(&ledger, &hash, document) {
            self.report.aborted = Some(error.sentence());
            for record in self.report.records.iter_mut().skip(first) {
                if record.outcome == Outcome::Done {
                    record.outcome = Outcome::Undone;
                }
            }
            if let Some(journal) = self.surroundings.root.end()
                && let Err(error) = journal.undo(&mut self.surroundings.root)
            {
                let text = format!("what was done cannot be undone yet: {}", error.sentence());
                (self.surroundings.say)(&text);
            }
            self.surroundings.storage.abort();
        }
    }

    fn attempt(
        &mut self,
        ledger: &crate::Ledger,
        hash: &str,
        document: &[&Operation],
    ) -> Result<(), Error> {
        // Conditions are asked when their turn comes: what may be left out is not judged before.
        let is_certain = |operation: &&&Operation| operation.conditions.is_empty();
        let certain: Vec<&Operation> = document.iter().filter(is_certain).copied().collect();
        let actions: Vec<&Action> = certain.iter().map(|operation| &operation.action).collect();
        if let Err(refusal) = self.surroundings.storage.begin(hash, &actions) {
            let error = refusal.error;
            if let Some(operation) = refusal.operation.and_then(|index| certain.get(index)) {
                let outcome = Outcome::Failed { reason: error.sentence(), hint: error.hint() };
                self.record(operation, outcome, Instant::now());
            }
            return Err(error);
        }
        self.surroundings.root.begin(ledger.begin(hash)?);
        for operation in document {
            match (self.one(operation), operation.failure) {
                (Err(error), Failure::Abort) => return Err(error),
                (Ok(()), _) | (Err(_), Failure::Continue) => {}
            }
        }
        self.surroundings.storage.finish()?;
        ledger.finish(hash)?;
        if let Some(journal) = self.surroundings.root.end() {
            // What is left of it is removed at the next run.
            let _ = journal.forget();
        }
        Ok(())
    }

    fn one(&mut self, operation: &Operation) -> Result<(), Error> {
        let start = Instant::now();
        let carried_out = match self.surroundings.obstacle(&operation.conditions) {
            Ok(None) => self.surroundings.carry_out(&operation.action).map(|()| Outcome::Done),
            Ok(Some(reason)) => Ok(Outcome::Skipped { reason }),
            Err(error) => Err(error),
        };
        match carried_out {
            Ok(outcome) => {
                self.record(operation, outcome, start);
                Ok(())
            }
            Err(error) => {
                let outcome = Outcome::Failed { reason: error.sentence(), hint: error.hint() };
                self.record(operation, outcome, start);
                Err(error)
            }
        }
    }

    fn record(&mut self, operation: &Operation, outcome: Outcome, start: Instant) {
        let place = self.sources.place(operation.origin);
        let action = summary(&operation.action);
        if let Outcome::Failed { reason, .. } = &outcome {
            (self.surroundings.say)(&format!("{place}: {action}: {reason}"));
        }
        self.report.records.push(Record {
            place,
            document: operation.document,
            name: operation.name.clone(),
            action,
            outcome,
            duration: start.elapsed(),
        });
    }
}

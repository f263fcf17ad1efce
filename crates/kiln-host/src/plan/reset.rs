//! How the state is forgotten: by a wish that the first process fulfils, or by formatting.

use kiln_boot::reset::Reset;

use crate::Error;

/// What somebody wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResetRequest<'a> {
    /// Paths of the running system that stay.
    pub keep: &'a [String],
    /// Whether the whole file system is made anew, identity included.
    pub wipe_state: bool,
}

/// The way to do it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResetPlan {
    /// The next boot sets aside what is not kept.
    Forget(Reset),
    /// The next boot makes a new file system.
    Format,
}

/// Plans a reset. `has_state` says whether the state of the disk is mounted.
///
/// # Errors
/// [`Error::Refused`]; nothing may be changed then.
pub fn reset(has_state: bool, request: ResetRequest<'_>) -> Result<ResetPlan, Error> {
    reset_in(has_state, request, &[])
}

/// The same on a machine with a layout of its own ([`Reset::keeping_in`]).
///
/// # Errors
/// As [`reset`].
pub fn reset_in(
    has_state: bool,
    request: ResetRequest<'_>,
    layout: &[(String, String)],
) -> Result<ResetPlan, Error> {
    let refuse = |reason: String, hint: &str| Err(Error::Refused { reason, hint: hint.to_owned() });
    if request.wipe_state {
        if !request.keep.is_empty() {
            return refuse(
                "nothing can be kept in a state that is made anew".to_owned(),
                "leave `--wipe-state` or `--keep` out",
            );
        }
        return Ok(ResetPlan::Format);
    }
    if !has_state {
        return refuse(
            "the state of the disk is not mounted".to_owned(),
            "repair it with e2fsck, or give all of it up with `--wipe-state`",
        );
    }
    match Reset::keeping_in(request.keep, layout) {
        Ok(reset) => Ok(ResetPlan::Forget(reset)),
        Err(error) => refuse(
            error.to_string(),
            "name paths below /etc, /var, /home, /root, /srv, /opt, /usr/local or /state, or others \
             that persist on this machine",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::{ResetPlan, ResetRequest, reset};

    /// Whether there is state, what to keep, whether to wipe, and the plan or a word of the error.
    type Case = (bool, &'static [&'static str], bool, Result<&'static str, &'static str>);

    #[test]
    fn a_reset_keeps_what_is_named_or_nothing_at_all() {
        let cases: [Case; 7] = [
            (true, &[], false, Ok("")),
            (true, &["/etc", "/home/admin"], false, Ok("etc overlay/home/upper/admin")),
            (true, &[], true, Ok("format")),
            (false, &[], true, Ok("format")),
            (false, &[], false, Err("not mounted")),
            (true, &["/etc"], true, Err("made anew")),
            (true, &["/usr/bin"], false, Err("/usr/bin")),
        ];
        for (has_state, keep, wipe_state, expected) in cases {
            let keep: Vec<String> = keep.iter().map(|path| (*path).to_owned()).collect();
            let found = reset(has_state, ResetRequest { keep: &keep, wipe_state });
            let found = found.map(|plan| match plan {
                ResetPlan::Forget(reset) => reset.kept().collect::<Vec<_>>().join(" "),
                ResetPlan::Format => "format".to_owned(),
            });
            match (found, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{keep:?}"),
                (Err(error), Err(expected)) => {
                    assert!(error.to_string().contains(expected), "{error}");
                }
                (found, expected) => panic!("{keep:?}: {found:?}, not {expected:?}"),
            }
        }
    }
}

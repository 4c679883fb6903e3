//! Times that only pass.

use crate::deployer::charge::{Charge, Trouble};
use crate::deployer::machine::Look;

pub(super) fn look(_charge: &mut Charge) -> Result<Look, Trouble> {
    Ok(Look::Done)
}

pub(super) fn keep_warm(_charge: &mut Charge) -> Result<Look, Trouble> {
    Ok(Look::Done)
}

//! Bytes in a structured input.

use arbitrary::{Arbitrary, Result, Unstructured};

/// Up to 255 bytes: as many as the first one says, or as there are.
///
/// The slices of `arbitrary` have their lengths at the far end of the input. With the length in front, the parts of an
/// input keep their meaning when the fuzzer moves them.
#[derive(Clone, Copy, Debug)]
pub struct Bytes<'a>(
    /// These.
    pub &'a [u8],
);

impl<'a> Arbitrary<'a> for Bytes<'a> {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Self> {
        let length = usize::from(input.arbitrary::<u8>()?);
        input.bytes(length.min(input.len())).map(Self)
    }
}

//! Padmé (Nikitin et al., PETS 2019, "Reducing Metadata Leakage from Encrypted Files"): lengths leak O(log log L) bits.

/// The length to which `bytes` is padded: at most 12 % more, less the longer it is. `None` if that exceeds 64 bits.
pub fn padme(bytes: u64) -> Option<u64> {
    let Some(exponent) = bytes.checked_ilog2().filter(|e| *e > 0) else { return Some(bytes) };
    let mantissa_bits = exponent.ilog2() + 1;
    let mask = (1_u64 << (exponent - mantissa_bits)) - 1;
    Some(bytes.checked_add(mask)? & !mask)
}

/// How many padding bytes Padmé adds to `bytes`.
pub fn padme_padding(bytes: u64) -> Option<u64> {
    padme(bytes)?.checked_sub(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_values_of_the_paper_s_formula() {
        for (bytes, padded) in
            [(0, 0), (1, 1), (2, 2), (8, 8), (9, 10), (1000, 1024), (1025, 1088), (65_537, 67_584)]
        {
            assert_eq!(padme(bytes), Some(padded), "{bytes}");
        }
        assert_eq!(padme(u64::MAX), None);
    }

    proptest! {
        #[test]
        fn it_never_shrinks_is_idempotent_and_adds_at_most_an_eighth(bytes in 0_u64..1 << 50) {
            let padded = padme(bytes).unwrap();
            prop_assert!(padded >= bytes);
            prop_assert_eq!(padme(padded), Some(padded));
            prop_assert!(padded - bytes <= bytes / 8);
        }

        #[test]
        fn it_never_panics(bytes: u64) {
            let _ = padme_padding(bytes);
        }
    }
}

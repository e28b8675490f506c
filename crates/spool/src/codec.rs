//! The compact binary forms of numbers, texts and lists, in which everything durable is written.
//!
//! **Promises.** Decoding is total: any octets give a value or [`Damaged`], never a panic and never an allocation larger than the input.
//! Numbers are LEB128 varints unless they are random (ids, hashes), which stand as fixed little-endian octets.

/// The octets are not what an encoder wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damaged;

/// Appends the encoded forms to a buffer.
pub(crate) trait Encode {
    fn octet(&mut self, value: u8);
    fn number(&mut self, value: u64);
    fn fixed64(&mut self, value: u64);
    fn fixed128(&mut self, value: u128);
    fn octets(&mut self, value: &[u8]);
    fn text(&mut self, value: &str) {
        self.octets(value.as_bytes());
    }
}

impl Encode for Vec<u8> {
    fn octet(&mut self, value: u8) {
        self.push(value);
    }

    fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.push(value as u8);
    }

    fn fixed64(&mut self, value: u64) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn fixed128(&mut self, value: u128) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn octets(&mut self, value: &[u8]) {
        self.number(value.len() as u64);
        self.extend_from_slice(value);
    }
}

/// Reads encoded forms from the front of a slice.
pub(crate) struct Decoder<'a> {
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    pub(crate) fn new(octets: &'a [u8]) -> Self {
        Self { rest: octets }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn octet(&mut self) -> Result<u8, Damaged> {
        let (&first, rest) = self.rest.split_first().ok_or(Damaged)?;
        self.rest = rest;
        Ok(first)
    }

    pub(crate) fn number(&mut self) -> Result<u64, Damaged> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let octet = self.octet()?;
            let bits = u64::from(octet & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(Damaged);
            }
            value |= bits << shift;
            if octet < 0x80 {
                return Ok(value);
            }
        }
        Err(Damaged)
    }

    pub(crate) fn number32(&mut self) -> Result<u32, Damaged> {
        u32::try_from(self.number()?).map_err(|_| Damaged)
    }

    pub(crate) fn number16(&mut self) -> Result<u16, Damaged> {
        u16::try_from(self.number()?).map_err(|_| Damaged)
    }

    /// A count of things that take at least one octet each, so that a lie cannot make us reserve memory.
    pub(crate) fn count(&mut self) -> Result<usize, Damaged> {
        let count = usize::try_from(self.number()?).map_err(|_| Damaged)?;
        if count > self.rest.len() { Err(Damaged) } else { Ok(count) }
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Damaged> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Damaged)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn fixed64(&mut self) -> Result<u64, Damaged> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(crate) fn fixed128(&mut self) -> Result<u128, Damaged> {
        Ok(u128::from_le_bytes(self.array()?))
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Damaged> {
        self.take(N)?.try_into().map_err(|_| Damaged)
    }

    pub(crate) fn octets(&mut self) -> Result<&'a [u8], Damaged> {
        let count = self.count()?;
        self.take(count)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, Damaged> {
        std::str::from_utf8(self.octets()?).map_err(|_| Damaged)
    }

    pub(crate) fn flag(&mut self) -> Result<bool, Damaged> {
        match self.octet()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Damaged),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_back_and_too_long_ones_are_damage() {
        for value in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), u64::MAX] {
            let mut out = Vec::new();
            out.number(value);
            assert_eq!(Decoder::new(&out).number(), Ok(value));
            for cut in 0..out.len() {
                assert_eq!(Decoder::new(&out[..cut]).number(), Err(Damaged));
            }
        }
        assert_eq!(Decoder::new(&[0xff; 11]).number(), Err(Damaged));
        assert_eq!(Decoder::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]).number(), Err(Damaged));
    }

    #[test]
    fn a_count_cannot_exceed_what_is_there() {
        assert_eq!(Decoder::new(&[5, 1, 2]).octets(), Err(Damaged));
        assert_eq!(Decoder::new(&[3, b'a', b'b', 0xff]).text(), Err(Damaged));
        assert_eq!(Decoder::new(&[2, b'a', b'b']).text(), Ok("ab"));
    }
}

//! The Internet checksum (RFC 1071).

/// The Internet checksum of bytes whose own checksum field is zero.
pub fn checksum(covered: &[u8]) -> u16 {
    let sum: u32 = covered
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

/// CRC32c (RFC 9260 appendix A), in the byte order of the wire.
pub fn crc32c(bytes: &[u8]) -> [u8; 4] {
    let crc = bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| match crc & 1 {
            1 => crc >> 1 ^ 0x82f6_3b78,
            _ => crc >> 1,
        })
    });
    (!crc).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_of_the_rfc_example() {
        // RFC 1071 section 3: the sum is ddf2.
        let covered = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(checksum(&covered), !0xddf2);
        assert_eq!(checksum(&[0xff]), 0x00ff);
    }

    #[test]
    fn crc32c_is_that_of_its_test_vector() {
        // RFC 3720 appendix B.4.
        assert_eq!(super::crc32c(&[0; 32]), [0xaa, 0x36, 0x91, 0x8a]);
    }
}

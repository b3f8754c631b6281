//! What the two processes say to each other: a JSON text and bytes, each with its length in front.

use std::io::{self, Read, Write};

/// One message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// JSON.
    pub text: Vec<u8>,
    /// What JSON would only make larger: an object, a blob.
    pub bytes: Vec<u8>,
}

impl Frame {
    /// Writes the lengths, `u32` in network order, then the parts.
    ///
    /// # Errors
    /// Those of writing; [`io::ErrorKind::InvalidInput`] for a part of 4 GiB or more.
    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let length = |part: &[u8]| {
            let length = u32::try_from(part.len());
            length.map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
        };
        let head = [
            length(&self.text)?.to_be_bytes(),
            length(&self.bytes)?.to_be_bytes(),
        ];
        to.write_all(head.as_flattened())?;
        to.write_all(&self.text)?;
        to.write_all(&self.bytes)?;
        to.flush()
    }

    /// Reads a message whose parts have at most `limit` bytes together.
    ///
    /// # Errors
    /// Those of reading; [`io::ErrorKind::UnexpectedEof`] where there is nothing more;
    /// [`io::ErrorKind::InvalidData`] for a longer message.
    pub fn read(from: &mut impl Read, limit: usize) -> io::Result<Frame> {
        let mut head = [[0; 4]; 2];
        from.read_exact(head.as_flattened_mut())?;
        let [text, bytes] = head.map(|length| u32::from_be_bytes(length) as usize);
        if text.saturating_add(bytes) > limit {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(Frame {
            text: read_part(from, text)?,
            bytes: read_part(from, bytes)?,
        })
    }
}

/// Memory grows with what arrives, not with what is announced.
fn read_part(from: &mut impl Read, length: usize) -> io::Result<Vec<u8>> {
    let mut part = Vec::new();
    from.take(length as u64).read_to_end(&mut part)?;
    match part.len() == length {
        true => Ok(part),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_and_long_or_cut_ones_are_refused() {
        let frame = Frame {
            text: b"{}".to_vec(),
            bytes: vec![7; 1000],
        };
        let mut wire = Vec::new();
        frame.write(&mut wire).unwrap();
        assert_eq!(Frame::read(&mut wire.as_slice(), 1002).unwrap(), frame);
        let kind = |wire: &[u8], limit| Frame::read(&mut &wire[..], limit).unwrap_err().kind();
        assert_eq!(kind(&wire, 1001), io::ErrorKind::InvalidData);
        assert_eq!(kind(&wire[..1009], 1002), io::ErrorKind::UnexpectedEof);
        assert_eq!(kind(&[], 1002), io::ErrorKind::UnexpectedEof);
    }
}

//! Table, namespace and tag names as file names, and back.
//!
//! A name is itself where a file name can hold it. `%`, `/`, control characters and a leading dot are written as `%`
//! and two upper-case hexadecimal digits for each byte, the empty name as a single `%`. A name whose encoded form is
//! longer than [`STEM_BYTES_MAX`] is cut and ends in `%~` and 32 digits of its BLAKE3 digest.
//!
//! Invariant: every name has exactly one encoded form, and [`decode`] accepts no other, so that no file has two names.

/// Bytes that a directory entry's name may have.
pub const NAME_BYTES_MAX: usize = 255;
/// Bytes that an encoded name may have: what the longest ending, `.schema.json`, leaves.
pub const STEM_BYTES_MAX: usize = NAME_BYTES_MAX - ".schema.json".len();
/// What stands between the beginning of an over-long name and its digest; no short form contains it.
const LONG_MARK: &str = "%~";
/// Hexadecimal digits of the digest of an over-long name.
const LONG_DIGITS: usize = 32;

/// What an encoded name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// This name.
    Name(String),
    /// An over-long name, known only by its encoded form: the one that encodes to it.
    Long,
}

/// A name as part of a file name.
pub fn encode(name: &str) -> String {
    if name.is_empty() {
        return "%".to_string();
    }
    let mut encoded = String::with_capacity(name.len());
    // Where a cut keeps escapes and characters whole and leaves room for the mark and the digest.
    let mut cut = 0;
    for (position, character) in name.char_indices() {
        let escape =
            matches!(character, '%' | '/') || character.is_control() || (position == 0 && character == '.');
        if escape {
            let mut bytes = [0; 4];
            for byte in character.encode_utf8(&mut bytes).bytes() {
                encoded.push_str(&format!("%{byte:02X}"));
            }
        } else {
            encoded.push(character);
        }
        if encoded.len() + LONG_MARK.len() + LONG_DIGITS <= STEM_BYTES_MAX {
            cut = encoded.len();
        }
    }
    if encoded.len() > STEM_BYTES_MAX {
        encoded.truncate(cut);
        encoded.push_str(LONG_MARK);
        encoded.push_str(&blake3::hash(name.as_bytes()).to_hex()[..LONG_DIGITS]);
    }
    encoded
}

/// What an encoded name stands for; `None` where no name has this form.
pub fn decode(encoded: &str) -> Option<Decoded> {
    if encoded == "%" {
        return Some(Decoded::Name(String::new()));
    }
    if let Some((_, digest)) = encoded.split_once(LONG_MARK) {
        let digits = digest.len() == LONG_DIGITS
            && digest.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        return digits.then_some(Decoded::Long);
    }
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let (high, low) = (hex_digit(rest.next()?)?, hex_digit(rest.next()?)?);
            bytes.push(high << 4 | low);
        } else {
            bytes.push(byte);
        }
    }
    let name = String::from_utf8(bytes).ok()?;
    // Refuses what needed no escape, has the wrong case or should have been cut.
    (encode(&name) == encoded).then_some(Decoded::Name(name))
}

/// Splits a table's full name into namespace and name: at the first dot that has something on both sides of it.
pub fn split_table_name(full: &str) -> (Option<&str>, &str) {
    match full.split_once('.') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => (Some(namespace), name),
        _ => (None, full),
    }
}

/// The namespace of some tables that has this encoded name.
pub fn find_namespace<'a>(tables: &'a [String], encoded: &str) -> Option<&'a str> {
    let mut namespaces = tables.iter().filter_map(|full| split_table_name(full).0);
    namespaces.find(|namespace| encode(namespace) == encoded)
}

/// The full name of a table from its namespace and name.
pub fn join_table_name(namespace: Option<&str>, name: &str) -> String {
    match namespace {
        Some(namespace) => format!("{namespace}.{name}"),
        None => name.to_string(),
    }
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_encode_to_file_names_and_back() {
        for (name, encoded) in [
            ("orders", "orders"),
            ("straße 1", "straße 1"),
            ("a.b", "a.b"),
            (".git", "%2Egit"),
            ("..", "%2E."),
            ("a/b", "a%2Fb"),
            ("100%", "100%25"),
            ("%2F", "%252F"),
            ("tab\there", "tab%09here"),
            ("nul\0", "nul%00"),
            ("\u{85}", "%C2%85"),
            ("", "%"),
            ("~", "~"),
            ("%~", "%25~"),
            ("-rf *", "-rf *"),
        ] {
            assert_eq!(encode(name), encoded, "{name:?}");
            assert_eq!(decode(encoded), Some(Decoded::Name(name.to_string())), "{encoded}");
        }
    }

    #[test]
    fn only_the_one_encoded_form_of_a_name_is_accepted() {
        for encoded in
            [".git", "%2f", "%41", "a%2Eb", "%", "50%", "%2", "a\nb", "%FF", "%C2%", "%E4", "x%~abc", "a%"]
        {
            if encoded != "%" {
                assert_eq!(decode(encoded), None, "{encoded:?}");
            }
        }
    }

    #[test]
    fn over_long_names_stay_short_and_apart() {
        let long = "ü".repeat(300);
        let longer = format!("{long}!");
        for name in [&long, &longer] {
            let encoded = encode(name);
            assert!(
                encoded.len() <= STEM_BYTES_MAX && encoded.len() > STEM_BYTES_MAX - 4,
                "{}",
                encoded.len()
            );
            assert_eq!(decode(&encoded), Some(Decoded::Long));
        }
        assert_ne!(encode(&long), encode(&longer));
        assert_eq!(encode(&"x".repeat(STEM_BYTES_MAX)), "x".repeat(STEM_BYTES_MAX));
        assert_ne!(encode(&"x".repeat(STEM_BYTES_MAX + 1)).len(), STEM_BYTES_MAX + 1);
        // Escapes are never cut in two.
        let escaped = encode(&"/".repeat(200));
        assert!(escaped.split_once(LONG_MARK).is_some_and(|(start, _)| start.len() % 3 == 0), "{escaped}");
        assert_eq!(decode(&escaped), Some(Decoded::Long));
    }

    #[test]
    fn a_table_lies_in_the_directory_of_its_namespace() {
        for (full, split) in [
            ("customers", (None, "customers")),
            ("gold.customers", (Some("gold"), "customers")),
            ("gold.eu.customers", (Some("gold"), "eu.customers")),
            (".hidden", (None, ".hidden")),
            ("trailing.", (None, "trailing.")),
        ] {
            assert_eq!(split_table_name(full), split);
            assert_eq!(join_table_name(split.0, split.1), full);
        }
    }
}

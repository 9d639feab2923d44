//! A small reader of ISO 9660 images for tests: written apart from the writer, so that both cannot err alike.

use std::collections::BTreeMap;

const SECTOR: usize = 2048;

/// Which names to read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    RockRidge,
    Joliet,
}

pub(super) struct Volume {
    pub(super) label: String,
    pub(super) publisher: String,
    pub(super) files: BTreeMap<String, Vec<u8>>,
}

pub(super) fn read_iso(image: &[u8], names: Names) -> Volume {
    let kind = if names == Names::Joliet { 2 } else { 1 };
    let descriptor = image
        .chunks_exact(SECTOR)
        .skip(16)
        .take_while(|descriptor| descriptor[0] != 255)
        .find(|descriptor| descriptor[0] == kind && &descriptor[1..6] == b"CD001")
        .unwrap();
    let text = |from: usize, len: usize| {
        let field = &descriptor[from..][..len];
        let text =
            if names == Names::Joliet { utf16(field) } else { String::from_utf8(field.to_vec()).unwrap() };
        text.trim_end_matches([' ', '\0']).to_owned()
    };
    assert_eq!(number(descriptor, 80) as usize * SECTOR, image.len(), "the volume is as long as the image");
    let mut files = BTreeMap::new();
    let root = &descriptor[156..190];
    walk(image, names, (number(root, 2), number(root, 10)), "", &mut files);
    Volume { label: text(40, 32), publisher: text(318, 128), files }
}

fn walk(
    image: &[u8],
    names: Names,
    (sector, len): (u32, u32),
    prefix: &str,
    files: &mut BTreeMap<String, Vec<u8>>,
) {
    let directory = &image[sector as usize * SECTOR..][..len as usize];
    let mut at = 0;
    while at < directory.len() {
        let size = usize::from(directory[at]);
        if size == 0 {
            at = (at / SECTOR + 1) * SECTOR;
            continue;
        }
        let record = &directory[at..at + size];
        at += size;
        let name_len = usize::from(record[32]);
        let raw = &record[33..33 + name_len];
        if matches!(raw, [0 | 1]) {
            continue;
        }
        let name = match names {
            Names::Joliet => utf16(raw).trim_end_matches(";1").to_owned(),
            Names::RockRidge => rock_ridge(image, &record[33 + name_len + usize::from(name_len % 2 == 0)..]),
        };
        let place = (number(record, 2), number(record, 10));
        let path = format!("{prefix}{name}");
        if record[25] & 2 == 0 {
            let contents = &image[place.0 as usize * SECTOR..][..place.1 as usize];
            assert!(files.insert(path, contents.to_vec()).is_none(), "a name twice");
        } else {
            walk(image, names, place, &format!("{path}/"), files);
        }
    }
}

/// The name in the `NM` fields, following continuation areas.
fn rock_ridge<'a>(image: &'a [u8], mut area: &'a [u8]) -> String {
    let mut name = Vec::new();
    let mut more = None;
    loop {
        while area.len() >= 4 && area[2] >= 4 {
            let (field, rest) = area.split_at(usize::from(area[2]));
            match &field[..2] {
                b"NM" => name.extend_from_slice(&field[5..]),
                b"CE" => {
                    let start = number(field, 4) as usize * SECTOR + number(field, 12) as usize;
                    more = Some(&image[start..][..number(field, 20) as usize]);
                }
                _ => {}
            }
            area = rest;
        }
        match more.take() {
            Some(next) => area = next,
            None => return String::from_utf8(name).unwrap(),
        }
    }
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn utf16(bytes: &[u8]) -> String {
    let units: Vec<_> = bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
    String::from_utf16(&units).unwrap()
}

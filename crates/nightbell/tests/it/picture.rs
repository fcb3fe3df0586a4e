//! Makes PNG pictures of pages small: with a palette of their most frequent colors.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};

use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use flate2::{Compression, Crc};

const SIGNATURE: [u8; 8] = [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n'];
/// Colors of a palette.
const COLORS: usize = 256;

type Color = [u8; 3];

/// The same picture with at most 256 colors; rarer ones become the nearest of these. It takes pictures of
/// 8 bits a channel without interlacing, as browsers make them.
pub(crate) fn small(png: &[u8]) -> Vec<u8> {
    let (mut header, mut data) = (Vec::new(), Vec::new());
    let mut rest = png.strip_prefix(&SIGNATURE).expect("a PNG");
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        let (kind, body) = (&after[..4], &after[4..4 + length]);
        match kind {
            b"IHDR" => header.extend_from_slice(body),
            b"IDAT" => data.extend_from_slice(body),
            _ => {}
        }
        rest = &after[4 + length + 4..];
    }
    let size =
        |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().expect("four bytes")) as usize;
    let (width, height) = (size(0), size(4));
    let channels = match (header[8], header[9], header[12]) {
        (8, 2, 0) => 3,
        (8, 6, 0) => 4,
        other => panic!("a picture of another kind: {other:?}"),
    };
    let pixels = unfiltered(&data, width * channels, channels);
    let pixels: Vec<Color> = pixels.chunks(channels).map(|it| [it[0], it[1], it[2]]).collect();
    assert_eq!(pixels.len(), width * height, "a whole picture");
    let palette = palette(&pixels);
    let mut places: HashMap<Color, u8> = HashMap::new();
    let mut lines = Vec::with_capacity((width + 1) * height);
    for line in pixels.chunks(width) {
        lines.push(0);
        lines.extend(
            line.iter().map(|it| *places.entry(*it).or_insert_with(|| nearest(&palette, *it))),
        );
    }
    header[9] = 3;
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::best());
    packed.write_all(&lines).expect("memory takes all");
    let packed = packed.finish().expect("memory takes all");
    let mut made = SIGNATURE.to_vec();
    for (kind, body) in [
        (b"IHDR", &header),
        (b"PLTE", &palette.concat()),
        (b"IDAT", &packed),
        (b"IEND", &Vec::new()),
    ] {
        let mut sum = Crc::new();
        sum.update(kind);
        sum.update(body);
        made.extend(u32::try_from(body.len()).expect("a small picture").to_be_bytes());
        made.extend_from_slice(kind);
        made.extend_from_slice(body);
        made.extend(sum.sum().to_be_bytes());
    }
    made
}

/// The bytes of all lines, with what each was filtered by undone.
fn unfiltered(data: &[u8], stride: usize, channels: usize) -> Vec<u8> {
    let mut raw = Vec::new();
    ZlibDecoder::new(data).read_to_end(&mut raw).expect("it is compressed");
    let mut out: Vec<u8> = Vec::with_capacity(raw.len());
    for line in raw.chunks(stride + 1) {
        let above = out.len().checked_sub(stride);
        for (at, byte) in line[1..].iter().enumerate() {
            let left = if at < channels { 0 } else { out[out.len() - channels] };
            let up = above.map_or(0, |above| out[above + at]);
            let both =
                above.filter(|_| at >= channels).map_or(0, |above| out[above + at - channels]);
            let guess = match line[0] {
                0 => 0,
                1 => left,
                2 => up,
                3 => left.midpoint(up),
                _ => paeth(left, up, both),
            };
            out.push(byte.wrapping_add(guess));
        }
    }
    out
}

fn paeth(left: u8, up: u8, both: u8) -> u8 {
    let guess = i16::from(left) + i16::from(up) - i16::from(both);
    let off = |it: u8| (guess - i16::from(it)).abs();
    if off(left) <= off(up) && off(left) <= off(both) {
        left
    } else if off(up) <= off(both) {
        up
    } else {
        both
    }
}

/// The most frequent colors.
fn palette(pixels: &[Color]) -> Vec<Color> {
    let mut counts: HashMap<Color, usize> = HashMap::new();
    for pixel in pixels {
        *counts.entry(*pixel).or_default() += 1;
    }
    let mut colors: Vec<(Color, usize)> = counts.into_iter().collect();
    colors.sort_by_key(|(color, count)| (std::cmp::Reverse(*count), *color));
    colors.into_iter().take(COLORS).map(|(color, _)| color).collect()
}

fn nearest(palette: &[Color], color: Color) -> u8 {
    let off = |it: &Color| -> u32 {
        it.iter().zip(color).map(|(one, other)| u32::from(one.abs_diff(other)).pow(2)).sum()
    };
    let at = (0..palette.len()).min_by_key(|at| off(&palette[*at])).unwrap_or_default();
    u8::try_from(at).expect("a palette has 256 colors at most")
}

#[test]
fn a_picture_keeps_its_frequent_colors() {
    // Two lines of two pixels, as a browser would write them: red and blue, filtered by what is above.
    let chunk = |kind: &[u8; 4], body: &[u8]| {
        let length = u32::try_from(body.len()).expect("short").to_be_bytes();
        [&length[..], kind, body, &[0; 4]].concat()
    };
    let header = [0, 0, 0, 2, 0, 0, 0, 2, 8, 2, 0, 0, 0];
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&[0, 255, 0, 0, 0, 0, 255, 2, 0, 0, 0, 0, 0, 0]).expect("memory takes all");
    let data = packed.finish().expect("memory takes all");
    let png = [&SIGNATURE[..], &chunk(b"IHDR", &header), &chunk(b"IDAT", &data)].concat();
    let made = small(&png);
    // Blue and red, each twice.
    let colors = made.windows(4).position(|it| it == b"PLTE").expect("a palette") + 4;
    assert_eq!(made[colors..colors + 6], [0, 0, 255, 255, 0, 0]);
    let data = made.windows(4).position(|it| it == b"IDAT").expect("data") + 4;
    let mut lines = Vec::new();
    ZlibDecoder::new(&made[data..]).read_to_end(&mut lines).expect("it is compressed");
    assert_eq!(lines, [0, 1, 0, 0, 1, 0]);
}

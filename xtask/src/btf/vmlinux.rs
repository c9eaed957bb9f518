//! The types in a bootable kernel image (x86: Documentation/arch/x86/boot.rst; arm64:
//! Documentation/arch/arm64/booting.rst).

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run;
use tlsclose_btf::MAGIC;

/// How packed kernels begin, and what unpacks them.
const PACKERS: [(&[u8], &[&str]); 4] = [
    (b"\xfd7zXZ\0", &["xz", "--decompress", "--stdout", "--single-stream"]),
    (b"\x28\xb5\x2f\xfd", &["zstd", "--decompress", "--stdout", "--quiet"]),
    (b"\x1f\x8b", &["gzip", "--decompress", "--stdout"]),
    (b"\x02\x21\x4c\x18", &["lz4", "-d", "-c"]),
];

/// The section `.BTF` of the kernel in the image; `directory` is for what is unpacked meanwhile.
pub fn types(image: &Path, directory: &Path) -> Result<Vec<u8>> {
    let bytes = fs::read(image).with_context(|| format!("cannot read {}", image.display()))?;
    if bytes.get(0x38..0x3c) == Some(b"ARM\x64") {
        return unpacked(&bytes).with_context(|| format!("no types in {}", image.display())).map(<[u8]>::to_vec);
    }
    let packed = payload(&bytes).with_context(|| format!("{} is no kernel image", image.display()))?;
    let Some((_, packer)) = PACKERS.iter().find(|(magic, _)| packed.starts_with(magic)) else {
        bail!("{} is packed in a way that is not known here", image.display());
    };
    let (part, elf, section) =
        (directory.join("vmlinux.part"), directory.join("vmlinux"), directory.join("vmlinux.btf"));
    fs::write(&part, packed).context("cannot write the packed kernel")?;
    let mut unpack = Command::new(packer[0]);
    unpack.args(&packer[1..]);
    let from = fs::File::open(&part).context("cannot read the packed kernel")?;
    let to = fs::File::create(&elf).context("cannot write the kernel")?;
    let status = unpack.stdin(from).stdout(to).status().with_context(|| format!("{} does not start", packer[0]))?;
    if !status.success() {
        bail!("{} cannot unpack {}", packer[0], image.display());
    }
    let mut dump = Command::new("objcopy");
    dump.arg("--dump-section").arg(format!(".BTF={}", section.display())).arg(&elf).arg("/dev/null");
    run::output(&mut dump)?;
    let types = fs::read(&section).context("no types in the kernel")?;
    for file in [part, elf, section] {
        fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))?;
    }
    Ok(types)
}

/// What the boot code unpacks, without the size that follows it.
fn payload(image: &[u8]) -> Option<&[u8]> {
    let word = |at: usize| Some(u32::from_le_bytes(image.get(at..at + 4)?.try_into().ok()?) as usize);
    if image.get(0x202..0x206)? != b"HdrS" {
        return None;
    }
    let setup = match *image.get(0x1f1)? {
        0 => 4,
        sectors => usize::from(sectors),
    };
    let start = (setup + 1) * 512 + word(0x248)?;
    image.get(start..start + word(0x24c)?.checked_sub(4)?)
}

/// The types in the kernel of arm64, which is not packed: what begins and ends as they do.
fn unpacked(image: &[u8]) -> Option<&[u8]> {
    const HEADER: u32 = 24;
    let [low, high] = MAGIC.to_le_bytes();
    // Version 1, no flags.
    let header = [[low, high, 1, 0], HEADER.to_le_bytes(), [0; 4]].concat();
    let starts = (0..image.len().saturating_sub(HEADER as usize)).step_by(4);
    starts.filter(|&at| image[at..].starts_with(&header)).find_map(|at| {
        let word = |i: usize| image.get(at + i..at + i + 4)?.try_into().ok().map(u32::from_le_bytes);
        let (types, strings, length) = (word(12)?, word(16)?, word(20)?);
        let end = HEADER as usize + strings as usize + length as usize;
        let found = image.get(at..at + end)?;
        (types == strings && length > 0 && found.last() == Some(&0)).then_some(found)
    })
}

#[cfg(test)]
mod tests {
    use super::{payload, unpacked};

    #[test]
    fn types_in_an_unpacked_kernel_are_found_by_their_header() {
        let mut image = vec![0u8; 64];
        // One that is cut short comes first.
        for (word, value) in [0x1_eb9f, 24, 0, 4, 4, 99].into_iter().enumerate() {
            image[8 + 4 * word..12 + 4 * word].copy_from_slice(&u32::to_le_bytes(value));
        }
        assert_eq!(unpacked(&image), None);
        let whole = [0x1_eb9f, 24, 0, 4, 4, 3].map(u32::to_le_bytes).concat();
        image.extend([&whole[..], b"type\0a\0", b"other"].concat());
        assert_eq!(unpacked(&image).map(<[u8]>::len), Some(24 + 4 + 3));
    }

    #[test]
    fn the_payload_is_where_the_header_says() {
        let mut image = vec![0; 1100];
        image[0x1f1] = 1;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x248] = 16;
        image[0x24c] = 10;
        image[1040..1046].copy_from_slice(b"packed");
        assert_eq!(payload(&image), Some(b"packed".as_slice()));
        assert_eq!(payload(&image[..1045]), None);
        image[0x202] = 0;
        assert_eq!(payload(&image), None);
    }
}

//! Files of strangers, their notes, and the arguments in these, made of real ones by chance.

use std::{cell::RefCell, fs::File, os::unix::fs::FileExt as _, path::Path};

use rustix::fs::MemfdFlags;

use super::{
    Content, Image, notes,
    operand::{self, Architecture},
    sapi::Sapi,
};
use crate::fuzz::Target;

#[test]
fn any_file_is_read_as_an_image_or_refused() {
    let target = Target {
        name: "elf",
        longest: 32 << 10,
        // The notes with all texts in them are the most; the search takes 256 KiB at once.
        memory: 2 << 20,
        words: &[
            "php_request_startup",
            "executor_globals",
            "executor_globals_offset",
            "tsrm_get_ls_cache_tcb_offset",
            "X-Powered-By: PHP/8.2.36\0",
            "FPM/FastCGI\0",
            "\0.note.stapsdt\0",
            "\0.rodata\0",
            "\0.stapsdt.base\0",
            "stapsdt\0",
            "php\0request__startup\0",
        ],
    };
    let file = RefCell::new(File::from(rustix::fs::memfd_create("elf", MemfdFlags::CLOEXEC).unwrap()));
    let path = Path::new("/usr/sbin/php-fpm");
    target.run(|bytes| {
        let file = file.borrow_mut();
        file.set_len(bytes.len() as u64).unwrap();
        file.write_all_at(bytes, 0).unwrap();
        if let Ok(Content::Php(image)) = Image::read(&file, path) {
            for probe in image.sites.names().0 {
                let Ok(sites) = image.sites.probe(probe) else { continue };
                assert!(sites.len() <= 4, "{probe} has {} places", sites.len());
                assert!(image.sites.has_probes());
            }
            let _ = (image.bias(0x5555_5555_4000, 0x1000), image.bias(u64::MAX, u64::MAX));
            assert!(image.version.as_ref().is_none_or(|version| version.len() < 32));
        }
        let _ = (Image::is_likely(&file), Image::is_nameless(&file));
    });
}

#[test]
fn the_corpus_has_php_that_is_understood() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/elf");
    for name in ["php-gnu-hash", "php-sysv-hash"] {
        let path = folder.join(name);
        let Ok(Content::Php(image)) = Image::read(&File::open(&path).unwrap(), &path) else { panic!("{name}") };
        assert_eq!((image.version.as_deref(), image.sapi), (Some("8.2.36"), Sapi::Fpm), "{name}");
        assert!(image.sapi_globals.is_some() && image.sites.function("compile_file").is_some(), "{name}");
        let site = &image.sites.probe("request__startup").unwrap()[0];
        assert!(site.offset > 0 && site.semaphore > 0 && site.arguments[0].size == 8, "{name}: {site:?}");
        assert!(Image::is_likely(&File::open(&path).unwrap()) && Image::is_nameless(&File::open(&path).unwrap()));
    }
}

#[test]
fn any_notes_are_read_up_to_what_is_wrong() {
    let target = Target { name: "notes", longest: 8 << 10, memory: 1 << 20, words: &["stapsdt\0", "php\0", "error\0"] };
    target.run(|bytes| {
        let notes = notes::parse(bytes);
        assert!(notes.len() <= bytes.len() / 12);
    });
}

#[test]
fn any_arguments_are_understood_or_refused() {
    let target = Target {
        name: "operands",
        longest: 512,
        memory: 64 << 10,
        words: &["8@", "-4@", "%rax", "%r15d", "(%rsp)", "(%rax,%rcx,8)", "$-1", "[sp, 16]", "[x0]", "w30", " "],
    };
    target.run(|bytes| {
        let text = String::from_utf8_lossy(bytes);
        for architecture in [Architecture::X86_64, Architecture::Aarch64] {
            for operand in operand::parse(architecture, &text).unwrap_or_default() {
                let registers = architecture.register_bytes();
                assert!(operand.register + 8 <= registers && operand.index + 8 <= registers, "{text:?}: {operand:?}");
                assert!([1, 2, 4, 8].contains(&operand.size), "{text:?}: {operand:?}");
            }
        }
    });
}

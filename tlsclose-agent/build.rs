fn main() {
    println!("cargo:rerun-if-changed=../target/bpf/bpfel-unknown-none/release/tlsclose-ebpf");
    let o = std::env::var("OUT_DIR").unwrap();
    std::fs::copy("../target/bpf/bpfel-unknown-none/release/tlsclose-ebpf", format!("{o}/tlsclose.bpf.o")).unwrap();
}

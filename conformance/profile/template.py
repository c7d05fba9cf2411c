"""The device profile that `conformance init` writes: short, commented, and valid as it stands."""

from conformance.profile.category import CategoryProfile

_TEMPLATE = """\
# Device profile for the category {name} ({title}).
# Check it:  conformance check THIS-FILE       Run it:  conformance run THIS-FILE
conformance: 1

device:
  vendor: Example Vendor            # as it should stand in the report
  model: Example Model
  category: {name}
{subtypes}  # firmware: "1.0"                # quote versions: 1.10 is a number, "1.10" a version
  # driver: "2.3.1"
  # hardware: npu                   # cpu, gpu, npu, fpga or other
  # binding: {{pci_address: "0000:65:00.0"}}   # or uuid, or metadata of the runtime: ties the profile to one unit

runtime:
  adapter: onnxruntime
  provider: CPUExecutionProvider    # the execution provider that must run the models
  # library: ./libexample_ep.so     # a plugin provider: its library, or
  # module: onnxruntime_ep_example  # a Python module with get_library_path()
  # options: {{device_id: 0}}         # as the provider takes them
  # session_options: {{intra_op_num_threads: 1}}
  # deadlines: {{open_s: {open_s:g}, compile_s: {compile_s:g}, run_s: {run_s:g}}}   # at most these: the category's caps

declares:
  # What is declared here is tested; what is left out is not claimed, and a MUST that needs it stays open.
  opsets:
{opsets}
  types: [{types}]
  operators: all
  # operators:
  #   include: all
  #   exclude:
  #     - {{term: "Resize[mode=cubic]", reason: "no cubic kernel yet"}}
  # precision:
  #   float16: {{accumulate: float32, subnormals: kept}}
  # determinism: {determinism}
  # allowed_host_ops: [{host_ops}]
  # shapes: {{dynamic: false, max_rank: 6}}
  # latency:
  #   - {{model: mobile-cnn, scenario: paced, period_ms: 33.3, p99_ms: 5.0, deadline_ms: 33.3, miss_rate: 0.0}}
  # power: {{idle_w: 15, typical_w: 60, max_w: 75}}
  # thermal: {{ambient_c: [0, 55], throttle_c: 95, max_c: 105, cooling: passive}}
  # documentation: {{datasheet: docs/datasheet.pdf, languages: [en, zh]}}
  # sdk: {{name: Example SDK, version: "1.0", platforms: [linux-x86_64]}}
"""


def device_template(category: CategoryProfile) -> str:
    """Return the template for a category, with the least that the category asks for already declared."""
    head, caps = category.category, category.caps
    subtypes = ", ".join(subtype.name for subtype in head.subtypes)
    opsets = "\n".join(f"    {domain}: [{low}, {high}]" for domain, (low, high) in caps.minimum_opsets.items())
    return _TEMPLATE.format(
        name=head.name,
        title=head.title.en,
        subtypes=f"  # subtype: …                      # one of: {subtypes}\n" if subtypes else "",
        open_s=caps.deadlines.open_s,
        compile_s=caps.deadlines.compile_s,
        run_s=caps.deadlines.run_s,
        opsets=opsets or "    ai.onnx: [13, 21]",
        types=", ".join(caps.minimum_types) or "float32",
        determinism=caps.weakest_determinism,
        host_ops=", ".join(f'"{term}"' for term in caps.allowed_host_ops),
    )

# make            build/storydiff
# make help       everything else

CC      ?= cc
PREFIX  ?= /usr/local
BUILD   ?= build
GOLDEN  ?= tests/golden
CLIP    ?= ../shared/clip
WEIGHTS  = $(BUILD)/weights
VERSION = 0.1.0
export CLIP

comma      := ,
WARN       = -Wall -Wextra
CFLAGS    ?= -O3 -g
ALL_CFLAGS = -std=c11 -D_GNU_SOURCE -DSTORYDIFF_VERSION='"$(VERSION)"' -I. -ffp-contract=off -pthread -fopenmp \
             $(WARN) $(CFLAGS) $(LAST)
LIBS       = $(OPENMP) -pthread -lz -lm -ldl

# GCC's OpenMP is linked statically, or it would not hear that its threads shall sleep (tensor/parallel.c), and kept from
# other libraries, which may bring one of their own.
OPENMP    := $(if $(findstring clang,$(shell $(CC) --version)),-fopenmp,-l:libgomp.a -Wl$(comma)--exclude-libs=libgomp.a)

# All cores, unless -j says otherwise; quiet, unless V=1.
ifeq ($(filter -j% --jobserver%,$(MAKEFLAGS)),)
  MAKEFLAGS += -j$(shell nproc)
endif
ifndef V
  .SILENT:
endif

# make SANITIZE=1: AddressSanitizer and UBSan, in a build folder of their own
ifdef SANITIZE
  override BUILD := $(BUILD)/sanitize
  CFLAGS = -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
  LIBS += -fsanitize=address,undefined
endif

LIBRARY  = $(filter-out storydiff/cli/main.c storydiff/studio/%,$(wildcard tensor/*.c nn/*.c sdxl/*.c sdxl/*/*.c storydiff/*/*.c))
TESTS    = $(patsubst tests/%.c,$(BUILD)/%,$(wildcard tests/test_*.c))
SYNTHETIC_C = tools/synthetic_model.c tools/synthetic_numbers.c tools/torch_writer.c tools/layout.c
GOLDEN_C = $(wildcard tests/golden_*.c)
objects  = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))

.PHONY: all studio demo test golden golden-full fuzz bench install clean help setup
.SECONDARY:

# The studio where libmicrohttpd is installed, as make setup does.
all: $(BUILD)/storydiff $(BUILD)/storydiff-convert $(BUILD)/storydiff-inspect \
     $(if $(wildcard /usr/include/microhttpd.h),$(BUILD)/storydiff-studio)

$(BUILD)/libstorydiff.a: $(call objects,$(LIBRARY))
	@rm -f $@
	ar rcs $@ $^

$(BUILD)/storydiff: $(BUILD)/obj/storydiff/cli/main.o $(BUILD)/libstorydiff.a
	echo "  $@"
	$(CC) -o $@ $^ $(LIBS)

# The studio is a program of its own: it alone needs libmicrohttpd.
STUDIO_C = $(wildcard storydiff/studio/*.c)
$(BUILD)/storydiff-studio: $(call objects,$(STUDIO_C)) $(BUILD)/obj/storydiff/studio/assets_embedded.o $(BUILD)/libstorydiff.a
	echo "  $@"
	$(CC) -o $@ $^ $(LIBS) -lmicrohttpd

$(BUILD)/obj/storydiff/studio/assets_embedded.o: storydiff/studio/assets_embedded.S $(wildcard storydiff/studio/page/* storydiff/examples/*.story)
	@mkdir -p $(@D)
	$(CC) -c -o $@ $<

$(BUILD)/golden: $(call objects,$(GOLDEN_C) tests/sha256.c $(SYNTHETIC_C)) $(BUILD)/libstorydiff.a
	echo "  $@"
	$(CC) -o $@ $^ $(LIBS)

$(BUILD)/storydiff-convert: $(call objects,tools/convert.c tools/conversion.c tools/conversion_write.c tools/layout.c) $(BUILD)/libstorydiff.a
	echo "  $@"
	$(CC) -o $@ $^ $(LIBS)

$(BUILD)/storydiff-inspect: $(call objects,tools/inspect.c tools/inspection.c) $(BUILD)/libstorydiff.a
	echo "  $@"
	$(CC) -o $@ $^ $(LIBS)


# A model of full size with random weights: build/synthesize --help
$(BUILD)/synthesize: $(call objects,tools/synthesize.c $(SYNTHETIC_C)) $(BUILD)/libstorydiff.a
	echo "  $@"
	$(CC) -o $@ $^ $(LIBS)

$(BUILD)/style_sheet: $(call objects,tools/style_sheet.c) $(BUILD)/libstorydiff.a
	$(CC) -o $@ $^ $(LIBS)

# The studio's pictures of styles, drawn again: after a new bundled model, or new styles
.PHONY: style-pictures
style-pictures: $(BUILD)/storydiff $(BUILD)/style_sheet
	tools/style_pictures $(BUILD)

# The bench. oneDNN is one of its peers where Debian's libdnnl-dev is installed.
ONEDNN  = $(wildcard /usr/include/oneapi/dnnl/dnnl.h)
BENCH_C = $(filter-out bench/pipeline.c bench/levers.c bench/onednn%,$(wildcard bench/*.c)) bench/onednn$(if $(ONEDNN),,_absent).c

$(BUILD)/bench_kernels: $(call objects,$(BENCH_C)) $(BUILD)/libstorydiff.a
	echo "  $@"
	$(CC) -o $@ $^ $(LIBS) $(if $(ONEDNN),-ldnnl)

$(BUILD)/bench_pipeline: $(call objects,bench/pipeline.c bench/flags.c) $(BUILD)/libstorydiff.a
	echo "  $@"
	$(CC) -o $@ $^ $(LIBS)

$(BUILD)/bench_levers: $(call objects,bench/levers.c bench/flags.c) $(BUILD)/libstorydiff.a
	echo "  $@"
	$(CC) -o $@ $^ $(LIBS)

# make bench BENCH="--quick": each kernel beside other libraries and the machine's limits; read bench/RESULTS.md first
bench: $(BUILD)/bench_kernels $(BUILD)/bench_pipeline $(BUILD)/bench_levers
	$(BUILD)/bench_kernels --json $(BUILD)/bench.json --svg $(BUILD)/bench.svg $(BENCH)

$(BUILD)/test_sha256: $(BUILD)/obj/tests/sha256.o
$(BUILD)/test_allocation: OPENMP = -fopenmp
$(BUILD)/test_synthesize: $(call objects,$(SYNTHETIC_C))
$(BUILD)/test_unet_int8: $(call objects,$(SYNTHETIC_C))
$(BUILD)/test_bench_cases: $(BUILD)/obj/bench/cases.o
$(BUILD)/test_convert: $(call objects,tools/conversion.c tools/conversion_write.c tools/layout.c tools/inspection.c)
$(BUILD)/test_fuzz: $(call objects,tests/fuzz/fuzz.c tests/fuzz/targets.c)
$(BUILD)/test_%: $(BUILD)/obj/tests/test_%.o $(BUILD)/libstorydiff.a
	echo "  $@"
	$(CC) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(LIBS) -lcmocka

# Code that is not ours is compiled without our warnings.
$(addprefix $(BUILD)/obj/storydiff/,page/stb_truetype_impl.o picture/stb_image_impl.o): LAST = -w -fno-sanitize=undefined

$(BUILD)/obj/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

-include $(patsubst %.c,$(BUILD)/obj/%.d,$(LIBRARY) $(STUDIO_C) storydiff/cli/main.c $(wildcard tests/*.c tests/fuzz/*.c tools/*.c bench/*.c))

# make fuzz SECONDS=60: every parser against made-up bytes, each for so long (Debian: clang, libclang-rt-14-dev, libomp-14-dev).
# What is found lies in build/fuzz/found; what is worth keeping goes into tests/fuzz/corpus.
SECONDS ?= 60
FUZZ     = $(patsubst tests/fuzz/corpus/%,%,$(wildcard tests/fuzz/corpus/*))
fuzz:
	@mkdir -p $(BUILD)/fuzz/found
	$(MAKE) CC=clang BUILD=$(BUILD)/fuzz OPENMP=-fopenmp CFLAGS="-O1 -g -fno-sanitize-recover=all \
	    -fsanitize=fuzzer-no-link,address,undefined" LIBS="-fopenmp -pthread -lz -lm -ldl \
	    -fsanitize=fuzzer,address,undefined" $(BUILD)/fuzz/fuzzer
	for target in $(FUZZ); do \
	    mkdir -p $(BUILD)/fuzz/corpus/$$target; ln -sf fuzzer $(BUILD)/fuzz/$$target; echo "$$target:"; \
	    $(BUILD)/fuzz/$$target -max_total_time=$(SECONDS) -rss_limit_mb=2048 -timeout=10 -max_len=65536 -verbosity=0 \
	        -print_final_stats=1 -artifact_prefix=$(BUILD)/fuzz/found/$$target- $(BUILD)/fuzz/corpus/$$target \
	        tests/fuzz/corpus/$$target || exit 1; \
	done

$(BUILD)/fuzzer: $(call objects,tests/fuzz/fuzz.c tests/fuzz/targets.c tests/fuzz/libfuzzer.c) $(BUILD)/libstorydiff.a
	echo "  $@"
	$(CC) -o $@ $^ $(LIBS)

# The two commands. Each installs what is missing and builds in a make of its own, which then sees what is new.
demo:
	@tools/setup
	@$(MAKE) --no-print-directory all
	$(BUILD)/storydiff --story storydiff/examples/demo.story --output_dir outputs --overwrite

# make studio STUDIO="--open --port 7860": the comic in the browser
studio:
	@tools/setup libmicrohttpd-dev
	@$(MAKE) --no-print-directory $(BUILD)/storydiff $(BUILD)/storydiff-studio
	$(BUILD)/storydiff-studio $(STUDIO)

# Whoever names CLIP's vocabulary wants it looked at; without a name, what needs it is skipped.
.PHONY: named-clip
named-clip:
ifneq ($(filter command environment,$(origin CLIP)),)
	@for file in vocab.json merges.txt bpe_simple_vocab_16e6.txt.gz; do [ -f "$(CLIP)/$$file" ] || { \
	    echo "CLIP=$(CLIP): no $$file there: name the folder of CLIP's vocabulary, or leave CLIP out to skip what needs it" >&2; \
	    exit 2; }; done
endif

test: named-clip
	@tools/setup libmicrohttpd-dev
	@$(MAKE) --no-print-directory run-tests

.PHONY: run-tests
run-tests: all $(BUILD)/golden $(TESTS)
	BUILD=$(BUILD) STORYDIFF=$(BUILD)/storydiff CPU=$(CPU) WEIGHTS=$(WEIGHTS) tests/run $(BUILD)/golden $(TESTS)

# make golden GOLDEN=DIR CLIP=DIR CPU=LIST: recorded outputs of the reference code against ours, tensor by tensor
golden: named-clip $(BUILD)/golden
	$(BUILD)/golden --cpu $(or $(CPU),all) --weights $(WEIGHTS) $(GOLDEN)

# make golden-full WEIGHTS=DIR CPU=LIST: SDXL itself, whose 7 GB of weights are made under DIR and kept
golden-full: $(BUILD)/golden
	$(BUILD)/golden -q --cpu $(or $(CPU),best) --weights $(WEIGHTS) --only full $(GOLDEN)

# make kill ROUNDS=50: runs killed at random moments, which must end with the same bytes
ROUNDS ?= 50
.PHONY: kill
kill: $(BUILD)/storydiff $(BUILD)/test_kill
	STORYDIFF=$(BUILD)/storydiff ROUNDS=$(ROUNDS) $(BUILD)/test_kill

setup:
	@tools/setup libmicrohttpd-dev

install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/storydiff
	install $(wildcard $(BUILD)/storydiff $(BUILD)/storydiff-*) $(DESTDIR)$(PREFIX)/bin/
	cp -R storydiff/models storydiff/examples $(DESTDIR)$(PREFIX)/share/storydiff/

clean:
	rm -rf $(BUILD)

help:
	@echo "make              build/storydiff"
	@echo "make demo         install what is missing, build, draw the example story into outputs/"
	@echo "make studio       install what is missing, build, start the comic in the browser: STUDIO=\"--open --port 7860\""
	@echo "make test         install what is missing, build, run all tests; SANITIZE=1: under ASan and UBSan"
	@echo "make golden       compare with recordings: GOLDEN=DIR (tests/golden), CLIP=DIR (../shared/clip) for the vocabulary,"
	@echo "                  CPU=LIST of avx512, avx2, portable, openblas, best, all (all) for the forms of the kernels"
	@echo "make golden-full  the same with SDXL of full size: WEIGHTS=DIR (build/weights) takes 7 GB; CPU=LIST (best)"
	@echo "make fuzz         every parser against made-up bytes: SECONDS=60 for each"
	@echo "make kill         runs killed at random moments, then gone on with: ROUNDS=50"
	@echo "make install      PREFIX=/usr/local, DESTDIR="
	@echo "make bench        each kernel beside other libraries and the machine's limits: BENCH=\"--help\""
	@echo "make setup        install the Debian packages that are missing"
	@echo "make clean        remove build/"

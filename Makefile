# make            build/storydiff
# make help       everything else

CC      ?= cc
PREFIX  ?= /usr/local
BUILD   ?= build
GOLDEN  ?= tests/golden
CLIP    ?= ../shared/clip
export CLIP

WARN     = -Wall -Wextra
CFLAGS  ?= -O3 -g
ALL_CFLAGS = -std=c11 -D_GNU_SOURCE -DSTORYDIFF_VERSION='"$(VERSION)"' -I. -ffp-contract=off -pthread $(WARN) $(CFLAGS)
LIBS     = -pthread -lz -lm -ldl

# make SANITIZE=1: AddressSanitizer and UBSan, in a build folder of their own
ifdef SANITIZE
  override BUILD := $(BUILD)/sanitize
  CFLAGS = -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
  LIBS += -fsanitize=address,undefined
endif

LIBRARY  = $(filter-out storydiff/main.c,$(wildcard tensor/*.c nn/*.c sdxl/*.c storydiff/*.c))
TESTS    = $(patsubst tests/%.c,$(BUILD)/%,$(wildcard tests/test_*.c))
GOLDEN_C = $(wildcard tests/golden_*.c)
objects  = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))
PACKAGES = gcc libc6-dev libopenblas0-pthread zlib1g-dev libstb-dev libcmocka-dev fonts-dejavu-core
VERSION  = $(shell cat VERSION)

.PHONY: all demo test golden install clean help setup
.SECONDARY:
all: $(BUILD)/storydiff

$(BUILD)/libstorydiff.a: $(call objects,$(LIBRARY))
	@rm -f $@
	ar rcs $@ $^

$(BUILD)/storydiff: $(BUILD)/obj/storydiff/main.o $(BUILD)/libstorydiff.a
	$(CC) -o $@ $^ $(LIBS)

$(BUILD)/golden: $(call objects,$(GOLDEN_C)) $(BUILD)/libstorydiff.a
	$(CC) -o $@ $^ $(LIBS)

$(BUILD)/test_%: $(BUILD)/obj/tests/test_%.o $(BUILD)/libstorydiff.a
	$(CC) -o $@ $^ $(LIBS) -lcmocka

# Code that is not ours is compiled without our warnings.
$(BUILD)/obj/storydiff/stb_truetype_impl.o: WARN = -w -fno-sanitize=undefined

$(BUILD)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

-include $(patsubst %.c,$(BUILD)/obj/%.d,$(LIBRARY) storydiff/main.c $(wildcard tests/*.c))

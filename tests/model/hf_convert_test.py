#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""halo convert on Hugging Face directories: what comes out, looked at with a decoder of our own."""
import json
import os
import pty
import struct
import subprocess

import h1b_file
import hf_fixture as hf
from model_tap import BUILD, HALO, HALO_MODEL, convert, main, path, refused, run


def check_weights(file, model, scales=None):
    """All floats and trits are those of the model; scales are its own unless given as name -> list."""
    for name, (shape, values) in model.floats.items():
        section = file[name]
        assert tuple(section.dims) == shape and section.numbers() == values, name
    for name, (matrix, s) in model.linear.items():
        assert file[name].trits() == matrix, name
        scale = file[name + '_scale']
        assert scale.numbers() == (scales(name) if scales else s), name
        if model.group:
            assert scale.dims == [len(matrix), len(matrix[0]) // model.group], scale.dims
        elif not scales:
            assert scale.dims == [len(s)], scale.dims


def test_packed_weights_keep_codes_and_scales():
    model = hf.Model()
    hf.write(path('packed'), model)
    check_weights(h1b_file.File(convert(path('packed'))), model)


def test_the_example_of_transformers_is_unpacked_as_there():
    """The bytes and the matrix of the comment on unpack_weights in transformers, integrations/bitnet.py."""
    model = hf.Model('llama', layers=1, hidden=2, ffn=8, heads=1, kv=1, head=2)
    up = 'model.layers.0.mlp.up_proj.weight'
    packed = {up: ('U8', (2, 2), bytes([0b10100001, 0b00011000, 0b10010000, 0b00001010])), up + '_scale': ('F32', (1,), b'\0\0\0?')}
    hf.write(path('example'), model, form='plain', config={
        'quantization_config': {'quant_method': 'bitnet', 'linear_class': 'autobitlinear'}})
    hf.save_safetensors(path('example', 'model.safetensors'), {**model.tensors('plain'), **packed})
    file = h1b_file.File(convert(path('example'), '--packing', 't2'))
    assert file[up].trits() == [[0, -1], [-1, 1], [-1, 1], [-1, 1], [1, 0], [0, -1], [1, -1], [1, -1]]
    assert file[up + '_scale'].numbers() == [0.5]


def test_bitlinear_scales_divide():
    model = hf.Model('llama', seed=2, tied=False)
    for name, (matrix, s) in model.linear.items():
        model.linear[name] = matrix, [2.0 ** round(-8 * s[0])]  # inverses that BF16 holds
    hf.write(path('divides'), model, divides=True)
    check_weights(h1b_file.File(convert(path('divides'))), model)
    # Without "linear_class" it is bitlinear, transformers' default.
    config = json.load(open(path('divides', 'config.json'), encoding='utf-8'))
    del config['quantization_config']['linear_class']
    hf.save_json(path('divides'), 'config.json', config)
    check_weights(h1b_file.File(convert(path('divides'))), model)


def test_plain_ternary_floats_are_exact_in_every_dtype():
    for dtype in 'F32', 'F16', 'BF16':
        model = hf.Model('llama', seed=3)
        hf.write(path('plain'), model, form='plain', dtype=dtype)
        check_weights(h1b_file.File(convert(path('plain'))), model)


def test_scales_of_slices_rows_and_groups_are_found():
    for shape in {'scales': 2}, {'scales': 8}, {'scales': 32}, {'group': 64, 'hidden': 128, 'head': 32}, \
            {'group': 128, 'hidden': 256, 'head': 64, 'ffn': 256}:
        model = hf.Model('qwen3', seed=4, layers=1, **shape)
        hf.write(path('slices'), model, form='plain')
        file = h1b_file.File(convert(path('slices')))
        check_weights(file, model)


def test_matrices_of_one_input_get_scales_of_one_kind():
    grouped = hf.Model('llama', seed=31, layers=1, hidden=128, head=32, group=64)
    prefix = 'model.layers.0.'
    for name in 'self_attn.k_proj', 'mlp.gate_proj', 'self_attn.o_proj':
        matrix, s = grouped.linear[prefix + name + '.weight']
        grouped.linear[prefix + name + '.weight'] = matrix, [0.25] * len(s)
    hf.write(path('kinds'), grouped, form='plain')
    file = h1b_file.File(convert(path('kinds')))
    for name, (matrix, s) in grouped.linear.items():
        scales = file[name + '_scale']
        if 'o_proj' in name:
            assert scales.numbers() == [0.25] and scales.dims == [1]
        else:
            assert scales.numbers() == s and scales.dims == [len(matrix), 2], name
        assert file[name].trits() == matrix
    bench = os.path.join(BUILD, 'services/engine/halo-bench')
    r = run(bench, '--model', path('out.h1b'), '--pp', '8', '--tg', '4', '--runs', '1', '--threads', '1')
    assert r.returncode == 0, r.stderr


def test_master_weights_are_rounded_to_the_mean():
    model = hf.Model(seed=5)
    hf.write(path('master'), model, form='master', dtype='F32')
    stored = {n: list(memoryview(d).cast('f')) for n, (_, _, d) in model.tensors('master', 'F32').items()}
    file = h1b_file.File(convert(path('master')))
    for name, (matrix, _) in model.linear.items():
        values = stored[name]
        mean = sum(map(abs, values)) / len(values)
        scale, = file[name + '_scale'].numbers()
        assert abs(scale - mean) <= 1e-6 * mean, (scale, mean)
        assert file[name].trits() == matrix, name
    # Slices have a mean of their own.
    file = h1b_file.File(convert(path('master'), '--scales', '4'))
    for name, (matrix, _) in model.linear.items():
        values, n = stored[name], len(stored[name]) // 4
        for i, scale in enumerate(file[name + '_scale'].numbers()):
            mean = sum(map(abs, values[i * n:(i + 1) * n])) / n
            assert abs(scale - mean) <= 1e-6 * mean


def test_floats_of_an_ordinary_model_are_refused_unless_asked_for():
    hf.write(path('ordinary'), hf.Model('llama', seed=6), form='master')
    refused(path('ordinary'), says=['q_proj.weight', 'not ternary', '--quantize absmean'])
    convert(path('ordinary'), '--quantize', 'absmean')


def test_shards_are_put_together():
    model = hf.Model(seed=7)
    hf.write(path('whole'), model)
    hf.write(path('sharded'), model, shards=3)
    whole = h1b_file.File(convert(path('whole'), '--name', 'm'))
    assert h1b_file.File(convert(path('sharded'), '--name', 'm')).hash == whole.hash
    os.unlink(path('sharded', 'model-00002-of-00003.safetensors'))
    refused(path('sharded'), says=['sharded', 'missing'])
    hf.write(path('sharded'), model, shards=2)
    with open(path('sharded', 'model.safetensors.index.json'), encoding='utf-8') as f:
        index = json.load(f)
    index['weight_map']['model.norm.weight'] = '../whole/model.safetensors'
    hf.save_json(path('sharded'), 'model.safetensors.index.json', index)
    refused(path('sharded'), says=['model.norm.weight', 'in this directory'])


def test_1bitllm_norms_get_their_names_here():
    model = hf.Model(seed=8, tied=False)
    hf.write(path('1bitllm'), model, form='plain', tokenizer=hf.spm_tokenizer(), config={
        'architectures': ['BitnetForCausalLM'], 'model_type': 'llama', 'hidden_act': 'silu'},
        rename=lambda n: n.replace('attn_sub_norm', 'inner_attn_ln').replace('ffn_sub_norm', 'ffn_layernorm'))
    file = h1b_file.File(convert(path('1bitllm')))
    check_weights(file, model)
    config = file.config()
    assert (config['architecture'], config['hidden_act']) == ('bitnet', 'silu')
    assert config['tokenizer_model'] == 'spm' and 'pre_tokenizer' not in config


def test_configuration_is_carried_over():
    scaling = {'rope_type': 'yarn', 'factor': 4.0, 'original_max_position_embeddings': 64}
    hf.write(path('config'), hf.Model('qwen3', seed=9), config={'rope_scaling': scaling, '_name_or_path': 'org/tiny'})
    hf.save_json(path('config'), 'generation_config.json', {'eos_token_id': [259, 257]})
    with open(path('config', 'README.md'), 'w', encoding='utf-8') as f:
        f.write('---\nlicense: apache-2.0\nlicense_link: "https://example.org/l"\n---\nlicense: no\n')
    config = h1b_file.File(convert(path('config'))).config()
    assert config['rope_scaling'] == scaling
    assert config['eos_token_ids'] == [257, 259]  # the tokenizer's own first
    assert (config['bos_token_id'], config['add_bos']) == (256, True)
    assert (config['license'], config['license_link']) == ('apache-2.0', 'https://example.org/l')
    assert (config['name'], config['source']) == ('config', 'org/tiny')
    named = convert(path('config'), '--name', 'other', '--license', 'MIT', '--source', 'here')
    config = h1b_file.File(named).config()
    assert (config['name'], config['license'], config['source']) == ('other', 'MIT', 'here')
    # transformers 5 puts both into one object
    parameters = {'rope_type': 'default', 'rope_theta': 5e5}
    hf.write(path('config'), hf.Model('qwen3', seed=9), config={'rope_parameters': parameters})
    config = h1b_file.File(convert(path('config'))).config()
    assert config['rope_theta'] == 5e5 and 'rope_scaling' not in config


def test_byte_level_tokenizer_is_carried_over():
    for pairs in False, True:
        hf.write(path('bpe'), hf.Model(seed=10), tokenizer=hf.byte_tokenizer(pairs=pairs))
        file = h1b_file.File(convert(path('bpe')))
        tokens, types = file.tokens(), file['tokenizer.types'].numbers()
        assert tokens[:256] == [bytes([b]) for b in range(256)]
        assert tokens[256:261] == [b'<s>', b'</s>', b'th', b'the', b' the']
        assert tokens[261:] == [b''] * 9 + [b'<tool>']
        assert types == [1] * 256 + [3, 3, 1, 1, 1] + [5] * 9 + [4]
        assert file['tokenizer.merges'].numbers() == [ord('t'), ord('h'), 258, ord('e'), 32, 259]
        assert file.config()['pre_tokenizer'] == 'llama-3'
        assert file.template() == hf.TEMPLATE


def test_spm_tokenizer_gets_scores_from_the_merges():
    hf.write(path('spm'), hf.Model('llama', seed=11), tokenizer=hf.spm_tokenizer())
    file = h1b_file.File(convert(path('spm')))
    tokens, types, scores = file.tokens(), file['tokenizer.types'].numbers(), file['tokenizer.scores'].numbers()
    assert tokens[:5] == [b'<unk>', b'<s>', b'</s>', b'\0', b'\1'] and types[:5] == [2, 3, 3, 6, 6]
    assert tokens[259:] == [b' ', b't', b'h', b'e', b'th', b'the', b' the', b' t']
    assert scores[263:] == [-1, -2, -3, 0]
    assert max(scores[:263]) < -3
    assert 'tokenizer.merges' not in file.sections
    assert file.config()['add_space_prefix'] is True


def test_sentencepiece_files_give_the_same_tokenizer():
    hf.write(path('spm'), hf.Model('llama', seed=11), tokenizer=hf.spm_tokenizer())
    want = h1b_file.File(convert(path('spm'), out='json.h1b'))
    os.unlink(path('spm', 'tokenizer.json'))

    def save(model):
        with open(path('spm', 'tokenizer.model'), 'wb') as f:
            f.write(model)

    whole = hf.spm_model()
    save(whole)
    have = h1b_file.File(convert(path('spm')))
    for name in 'offsets', 'bytes', 'types':
        assert have['tokenizer.' + name].data == want['tokenizer.' + name].data, name
    assert have['tokenizer.scores'].numbers()[259:] == [-1e9] * 4 + [-1, -2, -3, 0]
    assert have.config() == want.config()
    hf.save_json(path('spm'), 'added_tokens.json', {'</line>': 268, '<pad>': 267, '<unk>': 0})
    have = h1b_file.File(convert(path('spm')))
    assert have.tokens()[267:] == [b'<pad>', b'</line>'] and have['tokenizer.types'].numbers()[267:] == [3, 3]
    assert len(have['tokenizer.scores'].numbers()) == 269
    for model, says in ((hf.spm_model(kind=1), 'unigram'), (hf.spm_model(charsmap=b'x'), 'normalisation'),
                        (hf.spm_model(remove=1), 'remove_extra_whitespaces')):
        save(model)
        refused(path('spm'), says=['tokenizer.model', says])
    for cut in (*range(0, 40), *range(40, len(whole), 89), *range(len(whole) - 40, len(whole))):
        save(whole[:cut])
        refused(path('spm'), says=['tokenizer.model', 'expected'])


def test_rules_for_cutting_text_are_recognised():
    bytes_only = {'type': 'ByteLevel', 'add_prefix_space': False, 'use_regex': True}
    falcon = {'type': 'Sequence', 'pretokenizers': [
        {'type': 'Punctuation', 'behavior': 'Contiguous'}, bytes_only, {'type': 'Digits', 'individual_digits': True}]}
    for tokenizer, name in ((hf.byte_tokenizer(hf.QWEN2), 'qwen2'), (hf.byte_tokenizer(pre=bytes_only), 'gpt-2'),
                            (hf.byte_tokenizer(pre=falcon), 'falcon-e')):
        hf.write(path('rules'), hf.Model(seed=12), tokenizer=tokenizer)
        assert h1b_file.File(convert(path('rules'))).config()['pre_tokenizer'] == name
    for pre, says in (({'type': 'Whitespace'}, 'Whitespace'), (None, 'pre_tokenizer'), ({'type': 'Sequence'}, 'pre_tokenizer'),
                      ({**bytes_only, 'add_prefix_space': True}, 'prefix space')):
        tokenizer = hf.byte_tokenizer()
        tokenizer['pre_tokenizer'] = pre
        hf.write(path('rules'), hf.Model(seed=12), tokenizer=tokenizer)
        refused(path('rules'), says=['tokenizer.json', says])
    hf.write(path('rules'), hf.Model(seed=12), tokenizer=hf.byte_tokenizer('[a-z]+|\\d'))
    refused(path('rules'), says=['[a-z]+|\\d', '--pre-tokenizer'])
    named = h1b_file.File(convert(path('rules'), '--pre-tokenizer', 'gpt-2'))
    assert named.config()['pre_tokenizer'] == 'gpt-2'


def test_what_is_done_in_another_way_is_noted():
    for rule, ignores, is_noted in ((hf.LLAMA3, True, False), (hf.LLAMA3, False, True), (hf.QWEN2, False, False), (hf.QWEN2, True, True)):
        tokenizer = hf.byte_tokenizer(rule)
        tokenizer['model']['ignore_merges'] = ignores
        hf.write(path('noted'), hf.Model(seed=29), tokenizer=tokenizer)
        r = run(HALO_MODEL, 'convert', path('noted'), path('noted.h1b'))
        assert r.returncode == 0 and ('ignore_merges' in r.stderr) == is_noted, r.stderr
    tokenizer['normalizer'] = {'type': 'NFC'}
    hf.write(path('noted'), hf.Model(seed=29, tied=True), tokenizer=tokenizer)
    assert 'NFC' in run(HALO_MODEL, 'inspect', path('noted')).stderr


def test_templates_come_from_where_they_are():
    hf.write(path('template'), hf.Model(seed=13), settings={'eos_token': '</s>', 'chat_template': [
        {'name': 'tool_use', 'template': 'TOOLS'}, {'name': 'default', 'template': 'DEFAULT'}]})
    assert h1b_file.File(convert(path('template'))).template() == 'DEFAULT'
    with open(path('template', 'chat_template.jinja'), 'w', encoding='utf-8') as f:
        f.write('FILE')
    assert h1b_file.File(convert(path('template'))).template() == 'FILE'
    hf.write(path('template-less'), hf.Model(seed=13), settings={'eos_token': '</s>'})
    assert 'chat_template' not in h1b_file.File(convert(path('template-less'))).sections


def test_packings_that_fit_are_chosen_and_others_refused():
    binary, sparse = hf.Model('qwen3', seed=14, trits=(-1, 1)), hf.Model('qwen3', seed=15)
    for name, (matrix, s) in sparse.linear.items():
        for r, row in enumerate(matrix):
            for c in range(0, len(row), 4):
                zero = (r + c // 4) % 4
                row[c:c + 4] = [0 if i == zero else (t or 1) for i, t in enumerate(row[c:c + 4])]
    name = 'model.layers.0.mlp.up_proj.weight'
    for model, auto, bad in ((binary, h1b_file.B1, 's3'), (sparse, h1b_file.S3, 'b1')):
        hf.write(path('packings'), model, form='plain')
        assert h1b_file.File(convert(path('packings'), out='auto.h1b'))[name].dtype == auto
        check_weights(h1b_file.File(convert(path('packings'), '--packing', 't2')), model)
        # Packing anew from each packing gives the same trits.
        for packing in 't5', 'auto':
            convert(path('packings'), '--packing', packing, out='step.h1b')
            check_weights(h1b_file.File(convert(path('step.h1b'), '--packing', 't2')), model)
        refused(path('packings'), '--packing', bad, says=['q_proj.weight', bad.upper(), '--packing t2'])


def test_what_the_graph_lacks_is_refused_by_name():
    model = hf.Model('llama', seed=16, layers=1)
    for config, says in (({'architectures': ['GPT2LMHeadModel']}, 'GPT2LMHeadModel'), ({'hidden_act': 'gelu'}, 'gelu'),
                         ({'attention_bias': True}, 'attention_bias'), ({'num_attention_heads': 'x'}, 'num_attention_heads'),
                         ({'quantization_config': {'quant_method': 'gptq'}}, 'gptq'), ({'rms_norm_eps': None}, 'rms_norm_eps'),
                         ({'quantization_config': {'quant_method': 'bitnet', 'use_rms_norm': True}}, 'use_rms_norm'),
                         ({'quantization_config': {'quant_method': 'bitnet', 'linear_class': 'x'}}, 'linear_class'),
                         ({'rope_scaling': {'rope_type': 'dynamic', 'factor': 2.0}}, 'rope_'),
                         ({'layer_types': ['sliding_attention']}, 'layer_types'), ({'partial_rotary_factor': 0.5}, 'partial_rotary'),
                         ({'num_key_value_heads': 3}, 'num_key_value_heads'), ({'vocab_size': 3}, 'bos_token_id')):
        hf.write(path('graph'), model, form='plain', config=config)
        refused(path('graph'), says=['graph', says])


def test_tensors_that_do_not_fit_are_refused_by_name():
    model = hf.Model('llama', seed=17, layers=1)
    hf.write(path('shapes'), model, form='plain')
    tensors = model.tensors('plain')
    file = path('shapes', 'model.safetensors')
    norm = 'model.layers.0.input_layernorm.weight'
    nan = 'BF16', (64,), b'\xc0\x7f' * 64
    bias = 'model.layers.0.self_attn.q_proj.bias'
    for change, says in (({norm: None}, ['no tensor ' + norm, '1 x 64']), ({norm: ('BF16', (32,), bytes(64))}, [norm, '1 x 32']),
                         ({bias: ('BF16', (64,), bytes(128))}, [bias, 'llama']), ({norm: nan}, [norm, 'finite']),
                         ({norm: ('I64', (64,), bytes(512))}, [norm, 'I64']),
                         ({'lm_head.weight': ('U8', (70, 64), bytes(70 * 64))}, ['lm_head.weight', 'weight_scale'])):
        changed = {n: t for n, t in {**tensors, **change}.items() if t}
        hf.save_safetensors(file, changed)
        refused(path('shapes'), says=says)
    # What modules keep for themselves may be there.
    hf.save_safetensors(file, {**tensors, 'model.layers.0.self_attn.rotary_emb.inv_freq': ('F32', (8,), bytes(32))})
    convert(path('shapes'))


def test_packed_weights_whose_scale_could_mean_either_are_refused():
    hf.write(path('either'), hf.Model(seed=28, layers=1), config={'quantization_config': None})
    refused(path('either'), says=['proj.weight', 'quantization_config'])


def test_broken_packed_weights_are_refused():
    model = hf.Model(seed=18, layers=1)
    hf.write(path('broken'), model)
    tensors = model.tensors()
    name = 'model.layers.0.mlp.up_proj.weight'
    dtype, shape, data = tensors[name]
    for change, says in (({name: (dtype, shape, data[:70] + b'\xff' + data[71:])}, [name, 'row 1', 'code']),
                         ({name + '_scale': ('BF16', (1,), b'\xc0\x7f')}, [name, 'positive scale']),
                         ({name + '_scale': ('BF16', (1,), b'\0\0')}, [name, 'positive scale']),
                         ({name + '_scale': ('BF16', (2,), b'\0\0\0\0')}, [name, 'one float'])):
        hf.save_safetensors(path('broken', 'model.safetensors'), {**tensors, **change})
        refused(path('broken'), says=says)


def test_broken_tokenizers_are_refused():
    def changed(change):
        tokenizer = hf.byte_tokenizer()
        change(tokenizer)
        return tokenizer

    for change, says in ((lambda t: t['model'].update(type='Unigram'), 'Unigram'),
                         (lambda t: t['model']['merges'].append('q z'), 'entry 3'),
                         (lambda t: t['model']['merges'].append(['q']), 'entry 3'),
                         (lambda t: t['model']['vocab'].update(x=1 << 40), 'id'),
                         (lambda t: t['model']['vocab'].update(xy=5), 'id 5'),
                         (lambda t: t.update(normalizer={'type': 'Lowercase'}), 'Lowercase'),
                         (lambda t: t['added_tokens'].append({'id': 300}), 'content'),
                         (lambda t: t['model']['vocab'].pop('!'), 'byte 0x21'),
                         (lambda t: t['model']['merges'].append('t h'), 'twice'),
                         (lambda t: t['added_tokens'].append({'id': 259, 'content': 'the'}), 'merge 1 '),
                         (lambda t: t['added_tokens'].append({'id': 300, 'content': 'x'}), '301 tokens')):
        hf.write(path('tokens'), hf.Model(seed=19), tokenizer=changed(change))
        refused(path('tokens'), says=says)
    hf.write(path('tokens'), hf.Model(seed=19), settings={}, config={'eos_token_id': None})
    refused(path('tokens'), says='never end')
    os.unlink(path('tokens', 'tokenizer.json'))
    refused(path('tokens'), says=['tokenizer.json', '--tokenizer'])
    hf.write(path('tokens-elsewhere'), hf.Model(seed=19))
    convert(path('tokens'), '--tokenizer', path('tokens-elsewhere'))


def test_every_cut_of_a_weights_file_is_refused_with_its_offset():
    hf.write(path('cut'), hf.Model('llama', seed=20, layers=1, hidden=16, head=8, heads=2, kv=1, ffn=16), form='plain')
    file = path('cut', 'model.safetensors')
    with open(file, 'rb') as f:
        whole = f.read()
    header = 8 + int.from_bytes(whole[:8], 'little')
    cuts = [*range(0, 12), *range(12, header, 37), header - 1, header, header + 1, len(whole) - 1]
    for cut in cuts:
        with open(file, 'wb') as f:
            f.write(whole[:cut])
        refused(path('cut'), says=['model.safetensors', 'offset', 'expected'])
    with open(file, 'wb') as f:
        f.write(whole + b'x')
    refused(path('cut'), says=['1 more bytes'])


def test_weights_headers_that_lie_are_refused():
    hf.write(path('lies'), hf.Model('llama', seed=21, layers=1), form='plain')
    file = path('lies', 'model.safetensors')
    with open(file, 'rb') as f:
        whole = f.read()
    n = int.from_bytes(whole[:8], 'little')
    header = json.loads(whole[8:8 + n])

    def with_header(text):
        with open(file, 'wb') as f:
            f.write(len(text).to_bytes(8, 'little') + text + whole[8 + n:])

    name = 'model.norm.weight'
    begin, end = header[name]['data_offsets']
    for change in ({'dtype': 'F13'}, {'shape': [65]}, {'shape': [-64]}, {'shape': [1 << 62, 4]}, {'shape': 64},
                   {'data_offsets': [begin - 2, end - 2]}, {'data_offsets': [end, begin]}, {'data_offsets': [begin]},
                   {'data_offsets': [begin, 1 << 62]}, {'shape': [1] * 9}):
        with_header(json.dumps({**header, name: {**header[name], **change}}).encode())
        refused(path('lies'), says=['model.safetensors', 'tensor'])
    for text in b'[]', b'{', b'{"a":1}', b'{"a":{},"a":{}}', b'\xff\xfe':
        with_header(text)
        refused(path('lies'), says='model.safetensors')
    with open(file, 'wb') as f:
        f.write((1 << 60).to_bytes(8, 'little') + whole[8:])
    refused(path('lies'), says=['offset 0', 'no safetensors file'])


def test_files_of_other_kinds_are_explained():
    os.makedirs(path('empty'), exist_ok=True)
    refused(path('empty'), says=['not a known kind', 'config.json'])
    with open(path('model.safetensors'), 'wb') as f:
        f.write(bytes(100))
    refused(path('model.safetensors'), says=['GGUF', 'name the directory'])
    refused(path('not-there'), says='not-there')
    hf.write(path('pickled'), hf.Model(seed=22))
    os.rename(path('pickled', 'model.safetensors'), path('pickled', 'pytorch_model.bin'))
    refused(path('pickled'), says=['pytorch_model.bin', 'safe_serialization'])


def test_memory_stays_below_the_largest_tensor():
    # 48 MiB of embedding in F32; the program itself needs a few MiB.
    vocab, hidden = 12288, 1024
    model = hf.Model('llama', seed=23, layers=1, hidden=64, vocab=280)
    os.makedirs(path('large'), exist_ok=True)
    hf.write(path('large'), model, form='plain', dtype='F32')
    tensors = model.tensors('plain', 'F32')
    model.hidden, model.vocab = hidden, vocab
    hf.save_json(path('large'), 'config.json', model.config(num_attention_heads=4))
    large = {}
    for name, (dtype, shape, data) in tensors.items():
        shape = tuple({64: hidden, 280: vocab}.get(n, n) for n in shape)
        if name.endswith('q_proj.weight'):
            shape = (64, hidden)
        if name.endswith('o_proj.weight'):
            shape = (hidden, 64)
        n = 1
        for d in shape:
            n *= d
        large[name] = dtype, shape, (data * (n * 4 // len(data) + 1))[:n * 4]
    hf.save_safetensors(path('large', 'model.safetensors'), large)
    r = subprocess.run(['/usr/bin/env', 'python3', '-c',
                        'import resource,subprocess,sys\n'
                        'r = subprocess.run(sys.argv[1:], capture_output=True, text=True)\n'
                        'print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n'
                        'sys.stderr.write(r.stderr)\nsys.exit(r.returncode)',
                        HALO_MODEL, 'convert', path('large'), path('large.h1b'), '--quantize', 'absmean'],
                       capture_output=True, text=True, timeout=120, check=False)
    assert r.returncode == 0, r.stderr
    sanitized = os.environ.get('HALO_SANITIZE', 'none') != 'none'
    assert int(r.stdout) * 1024 < vocab * hidden * 4 * (8 if sanitized else 1), r.stdout


def test_progress_and_summary_say_what_happened():
    hf.write(path('said'), hf.Model(seed=24))
    r = run(HALO, 'convert', path('said'), path('said.h1b'))
    assert r.returncode == 0, r.stderr
    assert 'tensors' in r.stderr and '\r' not in r.stderr
    said = dict(line.split(None, 1) for line in r.stdout.splitlines() if ' per ' not in line)
    file = h1b_file.File(path('said.h1b'))
    assert said['hash'] == file.hash and int(said['bytes']) == os.path.getsize(path('said.h1b'))
    assert said['packing'].startswith('T2; 14 matrices exact')
    per_token = int(next(line for line in r.stdout.splitlines() if 'bytes per token' in line).split()[-1])
    weights = sum(len(s.data) for n, s in file.sections.items()
                  if n.startswith('model.') and not n.endswith('scale'))
    assert per_token == weights, (per_token, weights)
    quiet = run(HALO, 'convert', path('said'), path('said.h1b'), '--quiet')
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, '', '')


def read_terminal(master):
    """All that was written; a read gives at most some 4 KB, and fails at the end."""
    shown = b''
    try:
        while part := os.read(master, 1 << 16):
            shown += part
    except OSError:
        pass
    os.close(master)
    return shown.decode()


def test_a_terminal_gets_a_bar_that_is_wiped():
    hf.write(path('bar'), hf.Model(seed=27))
    master, slave = pty.openpty()
    r = subprocess.run([HALO_MODEL, 'convert', path('bar'), path('bar.h1b')], stdout=subprocess.PIPE, stderr=slave, timeout=60,
                       check=False)
    os.close(slave)
    shown = read_terminal(master)
    assert r.returncode == 0 and '24/24 ' in shown, shown
    assert shown.endswith('\r\x1b[K') and '\n' not in shown, shown


def test_the_same_input_gives_the_same_file():
    hf.write(path('same'), hf.Model(seed=25))
    first = open(convert(path('same')), 'rb').read()
    assert open(convert(path('same')), 'rb').read() == first


def test_engines_compute_with_what_was_converted():
    bench = os.path.join(BUILD, 'services/engine/halo-bench')
    grouped = hf.Model('qwen3', group=64, hidden=128, head=32)
    for model, packing in ((hf.Model('bitnet'), 't2'), (hf.Model('llama', tied=False), 't5'), (hf.Model('qwen3', scales=4), 'auto'),
                           (grouped, 't2'), (hf.Model('qwen3', trits=(-1, 1)), 'b1')):
        hf.write(path('engine'), model, form='plain')
        file = convert(path('engine'), '--packing', packing)
        r = run(bench, '--model', file, '--pp', '8', '--tg', '4', '--runs', '1', '--threads', '1')
        assert r.returncode == 0, r.stderr


def test_every_packing_and_a_mix_of_them_gives_the_same_logits():
    logits = os.path.join(BUILD, 'tests/parity/parity_logits')
    for arch in 'bitnet', 'llama', 'qwen3':
        model = hf.Model(arch, seed=32, hidden=128, head=32, ffn=256)
        for name, (matrix, _) in model.linear.items():
            for r, row in enumerate(matrix):
                if 'q_proj' in name or 'up_proj' in name:  # for B1
                    row[:] = [t or 1 for t in row]
                elif 'v_proj' in name:  # for S3
                    row[:] = [0 if c % 4 == (r + c // 4) % 4 else (t or 1) for c, t in enumerate(row)]
        hf.write(path('mix'), model, form='plain')
        seen = set()
        for packing in 'auto', 't2', 't5':
            file = convert(path('mix'), '--packing', packing)
            r = subprocess.run([logits, file, 'best', 'f16'], input=struct.pack('<8I', *range(1, 9)),
                               capture_output=True, timeout=60, check=False)
            assert r.returncode == 0 and len(r.stdout) == 8 * 280 * 4, r.stderr
            seen.add(r.stdout)
        assert len(seen) == 1, arch
        packed = {s.dtype for s in h1b_file.File(convert(path('mix'))).sections.values()}
        assert {h1b_file.T2, h1b_file.S3, h1b_file.B1} <= packed


main(globals())

// Each wrong config with the one line it gets.

#include "read_text.hpp"

namespace {

struct Wrong {
  std::string keys;
  std::string line;
};

std::string yarn(const std::string& more) {
  return small("'rope_theta':10000.0,'rope_scaling':{'rope_type':'yarn'," + more + "}");
}

TEST(Conflicts, NameBothKeys) {
  const Wrong all[] = {
      {small("'rope_theta':10000.0,'rope_parameters':{'rope_type':'default','rope_theta':500000.0}"),
       "rope_theta: want the same as rope_parameters.rope_theta (500000), got 10000"},
      {small("'rope_scaling':{'type':'linear','rope_type':'dynamic','factor':2}"),
       "rope_scaling.rope_type: want the same as rope_scaling.type (\"linear\"), got \"dynamic\""},
      {small("'rope_scaling':{'type':'linear','factor':2},'rope_parameters':{'rope_type':'linear','factor':4,'rope_"
             "theta':1e4}"),
       "rope_scaling.factor: want the same as rope_parameters.factor (4), got 2"},
      {small("'rope_scaling':{'type':'yarn','factor':2},'rope_parameters':{'rope_type':'default','rope_theta':1e4}"),
       "rope_scaling.factor: want the same as rope_parameters.factor (none), got 2"},
      {small("'original_max_position_embeddings':4096,'rope_scaling':{'type':'yarn','factor':2,'original_max_position_"
             "embeddings':2048}"),
       "rope_scaling.original_max_position_embeddings: want the same as original_max_position_embeddings (4096), got "
       "2048"},
      {"'model_type':'gpt_neox','hidden_size':512,'num_attention_heads':8,'rotary_emb_base':10000,'rope_theta':20000",
       "rope_theta: want the same as rotary_emb_base (10000), got 20000"},
      {"'model_type':'phi','hidden_size':512,'num_attention_heads':8,'partial_rotary_factor':0.5,"
       "'rope_parameters':{'rope_theta':10000,'partial_rotary_factor':0.25}",
       "partial_rotary_factor: want the same as rope_parameters.partial_rotary_factor (0.25), got 0.5"},
      {"'model_type':'minimax_m2','head_dim':128,'rotary_dim':64,'partial_rotary_factor':0.25",
       "rotary_dim / head_dim: want the same as partial_rotary_factor (0.25), got 0.5"},
      {small("'n_head':16"), "n_head: want the same as num_attention_heads (32), got 16"},
      {"'model_type':'cohere2','hidden_size':4096,'num_attention_heads':32,'head_dim':64",
       "head_dim: want hidden_size / num_attention_heads (128) for this family, got 64"},
      {"'model_type':'llava','rope_theta':10000.0,'text_config':{'model_type':'llama','hidden_size':64,'num_attention_"
       "heads':4,'rope_theta':500000.0}",
       "rope_theta: want none beside text_config, or the same as text_config.rope_theta, got 10000.0"},
      {"'model_type':'gemma3_text','rope_theta':5e5,'rope_parameters':{'full_attention':{'rope_theta':1e6},'sliding_"
       "attention':{'rope_theta':1e4}}",
       "rope_theta: want the same as rope_parameters.full_attention.rope_theta (1000000), got 500000"},
      {"'model_type':'dbrx','d_model':2048,'n_heads':16,'rope_theta':10000.0,'attn_config':{'rope_theta':500000.0}",
       "attn_config.rope_theta: want the same as rope_theta (10000), got 500000"},
  };
  for (const Wrong& wrong : all) EXPECT_EQ(refusal(wrong.keys), wrong.line) << wrong.keys;
}

TEST(WrongValues, NameTheKeyAndWhatIsWanted) {
  const Wrong all[] = {
      {small("'rope_scaling':{'type':'linear','factor':0.25}"), "rope_scaling.factor: want a number >= 1, got 0.25"},
      {small("'rope_scaling':{'type':'linear','factor':'4'}"), "rope_scaling.factor: want a number >= 1, got \"4\""},
      {small("'rope_scaling':{'type':'linear','factor':NaN}"), "rope_scaling.factor: want a number >= 1, got \"NaN\""},
      {small("'rope_scaling':{'type':'linear','factor':Infinity}"),
       "rope_scaling.factor: want a number >= 1, got \"Infinity\""},
      {small("'rope_scaling':{'type':'linear'}"), "rope_scaling.factor: want a number >= 1, got none"},
      {small("'rope_scaling':{'factor':4.0}"), "rope_scaling.rope_type: want a rope_type beside factor, got none"},
      {small("'rope_scaling':{'type':7}"), "rope_scaling.type: want a string, got 7"},
      {small("'rope_scaling':[1]"), "rope_scaling: want an object, got [1]"},
      {small("'rope_scaling':'linear'"), "rope_scaling: want an object, got \"linear\""},
      {small("'rope_theta':-10000"), "rope_theta: want a number > 1, got -10000"},
      {small("'rope_theta':null"), "rope_theta: want a number > 1, got null"},
      {small("'rope_theta':true"), "rope_theta: want a number > 1, got true"},
      {small("'rope_theta':[10000,500000]"), "rope_theta: want a number > 1, got [10000,500000]"},
      {small("'head_dim':127"), "head_dim: want an even number of channels that turn, >= 2, got 127 of 127"},
      {small("'head_dim':0"), "head_dim: want an integer from 1 to 1048576, got 0"},
      {small("'head_dim':1.5"), "head_dim: want an integer from 1 to 1048576, got 1.5"},
      {"'model_type':'llama','hidden_size':4096", "num_attention_heads: want an integer >= 1, got none"},
      {"'model_type':'llama','hidden_size':4,'num_attention_heads':8",
       "hidden_size: want at least one channel a head and at most 2^20, got 0"},
      {"'model_type':'phi','hidden_size':96,'num_attention_heads':8,'partial_rotary_factor':0.25",
       "partial_rotary_factor: want an even number of channels that turn, >= 2, got 3 of 12"},
      {"'model_type':'phi','hidden_size':512,'num_attention_heads':8,'partial_rotary_factor':1.5",
       "partial_rotary_factor: want a number in (0, 1], got 1.5"},
      {"'model_type':'gptj','n_embd':512,'n_head':8,'rotary_dim':7",
       "rotary_dim: want an even number of channels that turn, >= 2, got 7 of 64"},
      {yarn("'factor':4,'original_max_position_embeddings':-1"),
       "rope_scaling.original_max_position_embeddings: want an integer from 1 to 1099511627776, got -1"},
      {yarn("'factor':4,'attention_factor':-0.5"), "rope_scaling.attention_factor: want a number >= 0, got -0.5"},
      {yarn("'factor':4,'truncate':'no'"), "rope_scaling.truncate: want true or false, got \"no\""},
      {small("'rope_scaling':{'type':'llama3','factor':8,'low_freq_factor':4,'high_freq_factor':1}"),
       "rope_scaling.high_freq_factor: want a number >= low_freq_factor (4), got 1"},
      {small("'rope_scaling':{'type':'llama3','factor':8,'high_freq_factor':4}"),
       "rope_scaling.low_freq_factor: want a number > 0, got none"},
      {small("'rope_scaling':{'type':'longrope','short_factor':[1,2],'long_factor':[1,2]}"),
       "rope_scaling.short_factor: want 64 numbers, one a pair, got 2"},
      {small("'rope_scaling':{'type':'longrope','short_factor':[1,0],'long_factor':[1,2]}"),
       "rope_scaling.short_factor[1]: want a number > 0, got 0"},
      {"'model_type':'llama','hidden_size':64,'num_attention_heads':4,'rope_scaling':{'type':'dynamic','factor':2}",
       "max_position_embeddings: want the number of tokens, which dynamic scaling needs, got none"},
      {"'model_type':'qwen2_vl','hidden_size':1024,'num_attention_heads':8,'rope_scaling':{'type':'mrope','mrope_"
       "section':[16,24,8]}",
       "rope_scaling.mrope_section: want three numbers of pairs that add up to 64, got [16,24,8]"},
      {"'model_type':'smollm3','hidden_size':64,'num_attention_heads':4,'num_hidden_layers':3,'no_rope_layers':[1,0]",
       "no_rope_layers: want 0 or 1 for each of the 3 layers, got 2"},
      {"'model_type':'gemma3_text','num_hidden_layers':3,'layer_types':['full_attention']",
       "layer_types: want a type for each of the 3 layers, got 1"},
      {"'model_type':'laguna','num_hidden_layers':1,'rope_parameters':{'rope_type':'default','rope_theta':1e4}",
       "rope_parameters: want the parameters of each layer type (full_attention, sliding_attention), got one set for "
       "all"},
      {"'model_type':'mellum','num_hidden_layers':1,'rope_parameters':{'full_attention':{'rope_type':'default'}}",
       "rope_parameters.full_attention.rope_theta: want a number > 1, got none"},
      {"'model_type':'deepseek_v3','qk_nope_head_dim':128", "qk_rope_head_dim: want an integer, got none"},
  };
  for (const Wrong& wrong : all) EXPECT_EQ(refusal(wrong.keys), wrong.line) << wrong.keys;
}

TEST(WrongTypes, AreRefusedByName) {
  const Wrong all[] = {
      {small("'rope_scaling':{'type':'ropey','factor':2}"),
       "rope_scaling.type: want one of default, linear, dynamic, yarn, longrope (su), llama3, proportional (and mrope "
       "where the "
       "family has several axes), got \"ropey\""},
      {small("'rope_scaling':{'type':'axial'}"),
       "rope_scaling.type: want the positions of text, got those of an image (\"axial\")"},
      {small("'rope_scaling':{'rope_type':'default','mrope_section':[16,24,24]}"),
       "rope_scaling.mrope_section: want none for a family with one position axis, got [16,24,24]"},
      {small("'rope_scaling':{'type':'dynamic','factor':1.0,'alpha':1000.0}"),
       "rope_scaling.alpha: want none for this family and rope_type, got 1000.0"},
      {small("'rope_scaling':{'rope_type':'default','factor':4.0}"),
       "rope_scaling.factor: want none for rope_type default, got 4.0"},
      {small("'rope_scaling':{'type':'linear','factor':4.0,'attention_factor':1.2}"),
       "rope_scaling.attention_factor: want none for rope_type linear, got 1.2"},
      {small("'partial_rotary_factor':0.5"),
       "partial_rotary_factor: want 1 or none for a family that turns the whole head, got 0.5"},
      {small("'rotary_dim':64"), "rotary_dim: want 128 or none for the llama family, got 64"},
      {small("'rope_local_base_freq':500000"),
       "rope_local_base_freq: want 10000 or none for the llama family, got 500000"},
      {small("'rope_ratio':500"), "rope_ratio: want 1 or none for the llama family, got 500"},
      {small("'use_dynamic_ntk':true"), "use_dynamic_ntk: want false or none for the llama family, got true"},
      {small("'position_embedding_type':'alibi'"),
       "position_embedding_type: want \"rope\" or none for the llama family, got \"alibi\""},
      {small("'no_rope_layers':[1,0,1,0]"),
       "no_rope_layers: want a list of 1 or none for the llama family, got [1,0,1,0]"},
      {small("'rope_interleaved':true"), "rope_interleaved: want false or none for the llama family, got true"},
      {small("'rope_mystery':3"), "rope_mystery: want none for the llama family, got 3"},
      {small("'dual_chunk_attention_config':{'chunk_size':1}"),
       "dual_chunk_attention_config: want none for the llama family, got {\"chunk_size\":1}"},
      {"'model_type':'phi3','hidden_size':64,'num_attention_heads':4,'rope_scaling':{'type':'linear','factor':2}",
       "rope_scaling.rope_type: want default or longrope for this family, got \"linear\""},
      {"'model_type':'cohere2','hidden_size':64,'num_attention_heads':4,'num_hidden_layers':1,'sliding_window':null",
       "sliding_window: want the number of tokens: this family turns the layers that have a window, got null"},
      {"'model_type':'olmo3','hidden_size':64,'num_attention_heads':4,'num_hidden_layers':4,'rope_theta':10000",
       "rope_theta: want it among rope_parameters for each layer type: from here the present transformers gives 10000 "
       "to one "
       "type only, the older one to both"},
      {"'model_type':'mellum','num_hidden_layers':1,'rope_parameters':{'full_attention':{'rope_type':'yarn','factor':2,"
       "'rope_theta':1e4,"
       "'original_max_position_embeddings':4096,'truncate':false}}",
       "rope_parameters.full_attention.truncate: want true or none for a layer type: transformers does not look there, "
       "other engines do, got false"},
      {"'model_type':'smallthinker'",
       "model_type: want a family that this version describes, got \"smallthinker\": its rope_layout was not read in "
       "its own code"},
      {"'model_type':'lama'",
       "model_type: want a known model type (nearest: llama, bamba, jamba), or --family NAME to say whose conventions "
       "it "
       "follows, got \"lama\""},
      {"'hidden_size':64",
       "model_type: want a model_type, or --family NAME to say whose conventions it follows, got none"},
      {"'model_type':'llava'", "text_config: want the config of the language model of llava, got none"},
      {"'model_type':'apertus','hidden_size':4096,'num_attention_heads':32,'rope_scaling':null",
       "rope_scaling: want the scaling, or no such key: to an older transformers null is none, to the present one it "
       "is the "
       "family's own default, got null"},
  };
  for (const Wrong& wrong : all) EXPECT_EQ(refusal(wrong.keys), wrong.line) << wrong.keys;
}

// transformers 5.23.0 answers each of these otherwise than one would read it, or fails.
TEST(WrongValues, NothingIsGuessedWhereTransformersReadsOtherwise) {
  const std::string gemma =
      "'model_type':'gemma3_text','head_dim':256,'num_hidden_layers':2,'layer_types':['sliding_"
      "attention','full_attention']";
  const std::string glm = "'model_type':'glm','hidden_size':64,'num_attention_heads':4,'head_dim':16";
  const std::string known =
      "want one of full_attention, sliding_attention, chunked_attention, window_attention, indexed_attention, "
      "compressed_sparse_attention, heavily_compressed_attention, minimax_m3_sparse, conv, moe, hybrid, "
      "hybrid_sliding, reference_sliding_attention, linear_attention, got ";
  const std::string unturned =
      ": want its parameters, as transformers does not leave these layers of this family unturned, got null";
  const Wrong all[] = {
      {yarn("'factor':2,'original_max_position_embeddings':4096,'truncate':null"),
       "rope_scaling.truncate: want true or false, got null"},
      {gemma + ",'rope_scaling':{'type':'linear','factor':8.0}",
       "rope_scaling.type: want rope_type for this family: transformers 5 does not apply a scaling spelled with type "
       "here, got \"linear\""},
      {gemma + ",'rope_scaling':{'full_attention':{'rope_type':'linear','factor':8.0,'rope_theta':1e6}}",
       "rope_scaling: want the parameters of each layer type under rope_parameters for this family, as transformers "
       "does not look for them here, got {\"full_attention\":{\"factor\":8.0,\"rope_theta\":1000000.0,\"rope..."},
      {"'model_type':'gemma3_text','head_dim':256,'num_hidden_layers':3,'layer_types':['conv','full_attention',"
       "'banana']",
       "layer_types[2]: " + known + "\"banana\""},
      {"'model_type':'gemma3_text','head_dim':256,'num_hidden_layers':2,'layer_types':['conv','full_attention']",
       "layer_types[0]: want one of full_attention, sliding_attention for this family, got \"conv\""},
      {"'model_type':'cohere2','hidden_size':64,'num_attention_heads':4,'num_hidden_layers':1,'layer_types':['sliding_"
       "atention']",
       "layer_types[0]: " + known + "\"sliding_atention\""},
      {small("'layer_types':[7]"), "layer_types[0]: " + known + "7"},
      {gemma + ",'rope_parameters':{'full_attention':{'rope_theta':1e6},'sliding_attention':null}",
       "rope_parameters.sliding_attention" + unturned},
      {glm + ",'partial_rotary_factor':null", "partial_rotary_factor: want a number in (0, 1], got null"},
      {glm + ",'rope_parameters':{'rope_theta':1e4,'partial_rotary_factor':null}",
       "rope_parameters.partial_rotary_factor: want a number in (0, 1], got null"},
      {"'model_type':'gemma4_text','num_hidden_layers':6,'per_layer_config':null",
       "per_layer_config: want an object, or no such key: to transformers null is not the family's default, got null"},
      {"'model_type':'jetmoe','hidden_size':2048,'num_attention_heads':32,'kv_channels':64,'head_dim':null",
       "head_dim: want the same as kv_channels or no such key for this family, got null"},
      {"'model_type':'llama','hidden_size':512,'n_head':16",
       "num_attention_heads: want it under this name, as the llama family does not read n_head (16), got none"},
      {"'model_type':'falcon','n_embd':512,'num_attention_heads':8",
       "hidden_size: want it under this name, as the falcon family does not read n_embd (512), got none"},
      {"'model_type':'cohere','hidden_size':512,'num_attention_heads':8,'model_max_length':8192",
       "max_position_embeddings: want it under this name, as the cohere family does not read model_max_length (8192), "
       "got none"},
      {"'model_type':'cohere2','hidden_size':64,'num_attention_heads':4,'num_hidden_layers':1,'position_embedding_"
       "type':'absolute'",
       "position_embedding_type: want \"rope\" or none for the cohere2 family, got \"absolute\""},
      {small("'position_embedding_type':'rope_gptj'"),
       "position_embedding_type: want \"rope\" or none for the llama family, got \"rope_gptj\""},
  };
  for (const Wrong& wrong : all) EXPECT_EQ(refusal(wrong.keys), wrong.line) << wrong.keys;
}

TEST(WrongValues, WordsOfPublishedFilesAreLetStand) {
  for (const char* const keys :
       {"'model_type':'modernbert','hidden_size':64,'num_attention_heads':4,'num_hidden_layers':2,'position_embedding_"
        "type':'absolute'",
        "'model_type':'cohere2','hidden_size':64,'num_attention_heads':4,'num_hidden_layers':2,'sliding_window':16,"
        "'position_embedding_type':'rope_gptj'",
        "'model_type':'gemma3_text','head_dim':256,'num_hidden_layers':6,'rope_scaling':{'rope_type':'linear','factor':"
        "8.0}",
        "'model_type':'cohere','hidden_size':512,'num_attention_heads':8,'max_position_embeddings':8192,'model_max_"
        "length':131072"})
    EXPECT_EQ(refusal(keys), "(answered)") << keys;
}

TEST(Codes, TellKindsOfTroubleApart) {
  using ropewalk::Code;
  const auto code = [](std::string_view keys) { return read_text(keys).error().code; };
  EXPECT_EQ(code(small("'rope_theta':0")), Code::kInvalid);
  EXPECT_EQ(code(small("'rope_scaling':{'type':'ropey'}")), Code::kUnsupported);
  EXPECT_EQ(code("'model_type':'lama'"), Code::kUnsupported);
}

}  // namespace

"""The drawn world: captioned 32 x 32 pictures with known ground truth, for the miniature study.

``vocabulary`` lists what exists, ``scenes`` samples scenes and their captions, ``draw`` renders a scene,
``corpora`` draws fine-tuning corpora, ``sheet`` shows it all to a person.
"""
